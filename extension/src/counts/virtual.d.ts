declare module 'virtual:europe' {
  const topology: object;
  export default topology;
}
