// Stand-in until detection is here: the interface only.
export type Channel = 'in-app' | 'notification-list' | 'form';
export type Platform = 'facebook' | 'instagram' | 'threads';
export interface Notice {
  platform: Platform;
  channel: Channel;
  language: string;
  rule: string;
  ruleset: string;
  url: string;
  text: string;
}
