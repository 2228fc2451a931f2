/** Deflate, bounded and without anything left over: what the platform's decompressor is asked for, and no more. */
import { type Bytes, concat } from './encoding';

/**
 * Returns what `packed` unpacks to when that is exactly `size` bytes, or at most `limit`; undefined when it is damaged,
 * longer, or followed by bytes that belong to nothing. Stops unpacking as soon as it is longer.
 */
export async function inflate(
  packed: Bytes,
  { format, limit }: { format: CompressionFormat; limit: number },
): Promise<Bytes | undefined> {
  const data = await unpack(packed, format, limit);
  // Not every engine refuses bytes behind the end. Without its last byte a stream that ends there does not end at all.
  if (data && (await unpack(packed.subarray(0, -1), format, limit))) return undefined;
  return data;
}

async function unpack(packed: Bytes, format: CompressionFormat, limit: number): Promise<Bytes | undefined> {
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream(format)).getReader();
  const parts: Bytes[] = [];
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return concat(...parts);
      size += value.length;
      if (size > limit) {
        await reader.cancel();
        return undefined;
      }
      parts.push(value);
    }
  } catch {
    return undefined; // whatever the engine calls it: these bytes do not unpack
  }
}
