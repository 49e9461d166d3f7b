/** HMAC-SHA256 over raw bytes, and hashes for the log. */

const ALGORITHM = { name: "HMAC", hash: "SHA-256" };
const SIGNATURE = /^[0-9a-f]{64}$/;
const utf8 = new TextEncoder();

/** Whether `signature` (lower-case hex) is that of `body` under any of `secrets`; each is tried, in constant time. */
export async function isSigned(body: Uint8Array, signature: string | null, secrets: readonly string[]): Promise<boolean> {
  if (signature === null || !SIGNATURE.test(signature)) {
    return false;
  }
  const given = Uint8Array.from(signature.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  const verdicts = await Promise.all(
    secrets.map(async (secret) => crypto.subtle.verify(ALGORITHM, await keyOf(secret, "verify"), given, body)),
  );
  return verdicts.includes(true);
}

/** A hash that only who knows `secret` can make: nobody finds an address by trying many. */
export async function keyedHash(secret: string, text: string): Promise<string> {
  return hex(await crypto.subtle.sign(ALGORITHM, await keyOf(secret, "sign"), utf8.encode(text)));
}

/** SHA-256 of what nobody can guess. It outlives a change of secrets, so that a nonce stays used. */
export async function plainHash(text: string): Promise<string> {
  return hex(await crypto.subtle.digest("SHA-256", utf8.encode(text)));
}

function hex(bytes: ArrayBuffer): string {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function keyOf(secret: string, use: "sign" | "verify"): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", utf8.encode(secret), ALGORITHM, false, [use]);
}
