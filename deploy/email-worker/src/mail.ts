/** What a mail must look like. Nothing here can end a header line or name a second recipient. */

import { Refused } from "./refused.js";

export interface Sender {
  readonly name: string;
  readonly email: string;
}

export interface Mail {
  readonly ts: number;
  readonly nonce: string;
  readonly to: string;
  readonly from: Sender;
  readonly replyTo: Sender | undefined;
  readonly subject: string;
  readonly html: string;
  readonly text: string;
  readonly category: string;
  readonly headers: Readonly<Record<string, string>>;
}

const ADDRESS = /^[^\s@<>()[\]\\,;:"]{1,64}@[^\s@<>()[\]\\,;:"]{1,255}$/;
const WITH_NAME = /^\s*([^<>]*?)\s*<([^<>]*)>\s*$/;
const CONTROL = /[\u0000-\u001f\u007f\u0085\u2028\u2029]/;
const CATEGORY = /^[a-z0-9-]{1,64}$/;
const NONCE = /^[A-Za-z0-9_-]{8,128}={0,2}$/;
const HEADER = /^[A-Za-z0-9-]{1,100}$/;
const LONGEST_LINE = 998;
const MOST_HEADERS = 20;

/** The mail in `body`; throws `Refused` with `invalid_json` or `invalid_body`. */
export function readMail(body: Uint8Array): Mail {
  const fields = parse(body);
  const to = line(fields, "to");
  const { ts } = fields;
  if (typeof ts !== "number" || !Number.isSafeInteger(ts) || !ADDRESS.test(to)) {
    throw invalid();
  }
  return {
    ts,
    to,
    nonce: matching(fields, "nonce", NONCE),
    from: readSender(line(fields, "from")),
    replyTo: isAbsent(fields.replyTo) ? undefined : readSender(line(fields, "replyTo")),
    subject: line(fields, "subject"),
    html: text(fields, "html"),
    text: text(fields, "text"),
    category: matching(fields, "category", CATEGORY),
    headers: readHeaders(fields.headers),
  };
}

/** `Name <address>` or an address alone; throws `Refused` for anything else. */
export function readSender(given: string): Sender {
  const [, name, address] = WITH_NAME.exec(given) ?? [given, "", given.trim()];
  if (address === undefined || name === undefined || !ADDRESS.test(address)) {
    throw invalid();
  }
  return { name: name.replace(/^"(.*)"$/, "$1"), email: address };
}

function parse(body: Uint8Array): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body));
  } catch {
    throw new Refused(400, "invalid_json");
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw invalid();
  }
  return parsed as Record<string, unknown>;
}

function readHeaders(given: unknown): Record<string, string> {
  if (isAbsent(given)) {
    return {};
  }
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw invalid();
  }
  const headers = Object.entries(given as Record<string, unknown>);
  const areFine = headers.every(([name, value]) => HEADER.test(name) && isLine(value));
  if (!areFine || headers.length > MOST_HEADERS) {
    throw invalid();
  }
  return Object.fromEntries(headers) as Record<string, string>;
}

function text(fields: Record<string, unknown>, name: string): string {
  const value = fields[name];
  if (typeof value !== "string") {
    throw invalid();
  }
  return value;
}

function line(fields: Record<string, unknown>, name: string): string {
  const value = fields[name];
  if (!isLine(value)) {
    throw invalid();
  }
  return value;
}

function matching(fields: Record<string, unknown>, name: string, pattern: RegExp): string {
  const value = text(fields, name);
  if (!pattern.test(value)) {
    throw invalid();
  }
  return value;
}

function isLine(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.length <= LONGEST_LINE && !CONTROL.test(value);
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null;
}

function invalid(): Refused {
  return new Refused(400, "invalid_body");
}
