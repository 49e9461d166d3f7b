/** What the Worker is configured with: bindings, two secrets and a few numbers, checked before every mail. */

export interface Env {
  /** Cloudflare's Email Service. */
  readonly EMAIL: SendEmail;
  /** Nonces that were seen, and what each recipient got lately. */
  readonly EMAIL_NONCE_DEDUP: KVNamespace;
  readonly POLARIS_SECRET_A?: string;
  /** Accepted too, while one secret replaces the other. */
  readonly POLARIS_SECRET_B?: string;
  /** Addresses that mails may come from, with commas between. */
  readonly ALLOWED_SENDERS?: string;
  /** Where answers go when a mail does not say. */
  readonly DEFAULT_REPLY_TO?: string;
  readonly TS_WINDOW_MS?: string | number;
  readonly NONCE_TTL_SECONDS?: string | number;
  readonly RATE_LIMIT_MAX?: string | number;
  readonly RATE_LIMIT_WINDOW_SECONDS?: string | number;
}

export interface Settings {
  /** One or two; the first also keys the hashes of addresses. */
  readonly secrets: readonly [string, ...string[]];
  readonly allowedSenders: ReadonlySet<string>;
  readonly defaultReplyTo: string | undefined;
  readonly windowMs: number;
  readonly nonceTtlSeconds: number;
  readonly rateLimitMax: number;
  readonly rateLimitWindowSeconds: number;
}

/** The Worker cannot work as it is configured; the text names the variable and never its value. */
export class Misconfigured extends Error {}

const SHORTEST_SECRET = 32;
/** Workers KV keeps nothing for less. */
const SHORTEST_TTL_SECONDS = 60;

/** Throws `Misconfigured` at the first variable that is missing or unusable. */
export function readSettings(env: Env): Settings {
  const settings: Settings = {
    secrets: readSecrets(env),
    allowedSenders: readSenders(env.ALLOWED_SENDERS),
    defaultReplyTo: env.DEFAULT_REPLY_TO || undefined,
    windowMs: readNumber("TS_WINDOW_MS", env.TS_WINDOW_MS, 300_000, 1_000),
    nonceTtlSeconds: readNumber("NONCE_TTL_SECONDS", env.NONCE_TTL_SECONDS, 600, SHORTEST_TTL_SECONDS),
    rateLimitMax: readNumber("RATE_LIMIT_MAX", env.RATE_LIMIT_MAX, 5, 1),
    rateLimitWindowSeconds: readNumber(
      "RATE_LIMIT_WINDOW_SECONDS",
      env.RATE_LIMIT_WINDOW_SECONDS,
      600,
      SHORTEST_TTL_SECONDS,
    ),
  };
  if (settings.nonceTtlSeconds * 1000 < settings.windowMs) {
    throw new Misconfigured("NONCE_TTL_SECONDS must cover TS_WINDOW_MS, or a mail could be replayed");
  }
  return settings;
}

function readSecrets(env: Env): [string, ...string[]] {
  const given = { POLARIS_SECRET_A: env.POLARIS_SECRET_A, POLARIS_SECRET_B: env.POLARIS_SECRET_B };
  const secrets = Object.entries(given).filter((each): each is [string, string] => Boolean(each[1]));
  for (const [name, secret] of secrets) {
    if (secret.length < SHORTEST_SECRET) {
      throw new Misconfigured(`${name} must have at least ${SHORTEST_SECRET} characters`);
    }
    if (secret !== secret.trim()) {
      throw new Misconfigured(`${name} begins or ends with white space`);
    }
  }
  const [first, ...others] = secrets.map(([, secret]) => secret);
  if (first === undefined) {
    throw new Misconfigured("POLARIS_SECRET_A or POLARIS_SECRET_B must be set");
  }
  return [first, ...others];
}

function readSenders(given: string | undefined): Set<string> {
  const senders = (given ?? "").split(",").map((each) => each.trim().toLowerCase()).filter(Boolean);
  if (senders.length === 0 || senders.some((each) => !each.includes("@"))) {
    throw new Misconfigured("ALLOWED_SENDERS must be addresses with commas between");
  }
  return new Set(senders);
}

function readNumber(name: string, given: string | number | undefined, otherwise: number, least: number): number {
  const value = given === undefined || given === "" ? otherwise : Number(given);
  if (!Number.isSafeInteger(value) || value < least) {
    throw new Misconfigured(`${name} must be a whole number of at least ${least}`);
  }
  return value;
}
