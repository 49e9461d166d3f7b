/** `POST /send`: checks in the order of the protocol, each with its own answer, and one line of log a mail. */

import { readMail } from "./mail.js";
import { countMail, mayGetAnother, takeNonce } from "./memory.js";
import { Refused } from "./refused.js";
import { sendMail } from "./sending.js";
import { Misconfigured, readSettings, type Env } from "./settings.js";
import { isSigned, keyedHash, plainHash } from "./signature.js";

export const LONGEST_BODY = 256 * 1024;

/** What is known of a mail by now; never an address. */
interface Facts {
  category?: string;
  to_hash?: string;
  nonce_hash?: string;
}

export type Log = (line: string) => void;

export async function handle(request: Request, env: Env, now: number, log: Log): Promise<Response> {
  const facts: Facts = {};
  try {
    checkRoute(request);
    const id = await send(request, env, now, facts, log);
    log(JSON.stringify({ level: "info", message: "send ok", status: 200, ...facts }));
    return Response.json({ ok: true, id });
  } catch (error) {
    const { status, code } = refusalFor(error, log);
    const message = code === "unauthorized" ? "hmac mismatch" : "not sent";
    log(JSON.stringify({ level: status < 500 ? "warn" : "error", message, status, error: code, ...facts }));
    const headers = status === 405 ? { allow: "POST" } : {};
    return Response.json({ error: code }, { status, headers });
  }
}

async function send(request: Request, env: Env, now: number, facts: Facts, log: Log): Promise<string> {
  const settings = readSettings(env);
  const body = await readBody(request);
  if (!(await isSigned(body, request.headers.get("x-polaris-sig"), settings.secrets))) {
    throw new Refused(401, "unauthorized");
  }
  const mail = readMail(body);
  const recipient = mail.to.toLowerCase();
  facts.category = mail.category;
  facts.to_hash = await keyedHash(settings.secrets[0], recipient);
  facts.nonce_hash = await plainHash(mail.nonce);
  if (Math.abs(now - mail.ts) > settings.windowMs) {
    throw new Refused(401, "stale_timestamp");
  }
  const kv = env.EMAIL_NONCE_DEDUP;
  if (!(await takeNonce(kv, settings, facts.nonce_hash, mail, now))) {
    throw new Refused(409, "nonce_replayed");
  }
  if (!settings.allowedSenders.has(mail.from.email.toLowerCase())) {
    throw new Refused(403, "sender_not_allowed");
  }
  const recipientHash = await keyedHash(settings.secrets[0], `${recipient}:${mail.category}`);
  if (!(await mayGetAnother(kv, settings, recipientHash))) {
    throw new Refused(429, "rate_limited");
  }
  const id = await sendMail(env.EMAIL, settings, mail);
  try {
    await countMail(kv, settings, recipientHash, facts.nonce_hash);
  } catch {
    // It has left: an error now would have it sent again.
    log(JSON.stringify({ level: "error", message: "not counted", ...facts }));
  }
  return id;
}

function checkRoute(request: Request): void {
  if (new URL(request.url).pathname !== "/send") {
    throw new Refused(404, "not_found");
  }
  if (request.method !== "POST") {
    throw new Refused(405, "method_not_allowed");
  }
}

async function readBody(request: Request): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of request.body ?? []) {
    length += piece.byteLength;
    if (length > LONGEST_BODY) {
      throw new Refused(413, "body_too_large");
    }
    pieces.push(piece);
  }
  const body = new Uint8Array(length);
  let offset = 0;
  for (const piece of pieces) {
    body.set(piece, offset);
    offset += piece.byteLength;
  }
  return body;
}

function refusalFor(error: unknown, log: Log): Refused {
  if (error instanceof Refused) {
    return error;
  }
  if (error instanceof Misconfigured) {
    log(JSON.stringify({ level: "error", message: error.message }));
    return new Refused(500, "misconfigured");
  }
  // KV or the platform: closed rather than open, and worth another try. Its text may hold anything; it is not logged.
  return new Refused(503, "unavailable");
}
