/** What Workers KV remembers: nonces, and who got what lately. Keys hold hashes only. */

import type { Settings } from "./settings.js";

/**
 * Take `nonceHash` once; false when it was taken before.
 *
 * It is remembered for as long as the mail's time stamp is good, which may lie in the future.
 */
export async function takeNonce(
  kv: KVNamespace,
  settings: Settings,
  nonceHash: string,
  mail: { readonly ts: number },
  now: number,
): Promise<boolean> {
  const key = `nonce:${nonceHash}`;
  if ((await kv.get(key)) !== null) {
    return false;
  }
  const goodForSeconds = Math.ceil((mail.ts + settings.windowMs - now) / 1000) + 1;
  await kv.put(key, "1", { expirationTtl: Math.max(settings.nonceTtlSeconds, goodForSeconds) });
  return true;
}

/** Whether a recipient may get another mail of a category. */
export async function mayGetAnother(kv: KVNamespace, settings: Settings, recipientHash: string): Promise<boolean> {
  const { keys } = await kv.list({ prefix: `rate:${recipientHash}:`, limit: settings.rateLimitMax });
  return keys.length < settings.rateLimitMax;
}

/** Count a mail that was sent. A key of its own each: KV takes one write a second to the same key. */
export async function countMail(
  kv: KVNamespace,
  settings: Settings,
  recipientHash: string,
  nonceHash: string,
): Promise<void> {
  const key = `rate:${recipientHash}:${nonceHash}`;
  await kv.put(key, "1", { expirationTtl: settings.rateLimitWindowSeconds });
}
