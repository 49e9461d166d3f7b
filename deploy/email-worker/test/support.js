/** What surrounds the Worker: KV that forgets in time, and an Email Service that keeps what it is given. */

import { readFileSync } from "node:fs";

const file = new URL("../../../tests/contract/email_worker/vectors.json", import.meta.url);

/** The protocol's table, which the simulator's tests run as well. */
export const table = JSON.parse(readFileSync(file, "utf8"));

export class Kv {
  entries = new Map();
  now = 0;

  async get(key) {
    this.#forget();
    return this.entries.get(key)?.value ?? null;
  }

  async put(key, value, { expirationTtl }) {
    if (!(expirationTtl >= 60)) {
      throw new Error("KV keeps nothing for less than a minute");
    }
    this.entries.set(key, { value, until: this.now + expirationTtl * 1000 });
  }

  async list({ prefix, limit }) {
    this.#forget();
    const keys = [...this.entries.keys()].filter((key) => key.startsWith(prefix)).slice(0, limit);
    return { keys: keys.map((name) => ({ name })), list_complete: true };
  }

  #forget() {
    for (const [key, { until }] of this.entries) {
      if (until <= this.now) {
        this.entries.delete(key);
      }
    }
  }
}

export class EmailService {
  sent = [];
  failure = null;

  async send(message) {
    if (this.failure !== null) {
      throw Object.assign(new Error("delivery to ada@example.org failed"), { code: this.failure });
    }
    this.sent.push(message);
    return { messageId: `message-${this.sent.length}` };
  }
}

/** Bindings and variables as the table wants them. */
export function environment(changes = {}) {
  return {
    EMAIL: new EmailService(),
    EMAIL_NONCE_DEDUP: new Kv(),
    POLARIS_SECRET_A: table.secretA,
    POLARIS_SECRET_B: table.secretB,
    ALLOWED_SENDERS: table.allowedSenders.join(", "),
    ...changes,
  };
}

/** One step of the table as a request. */
export function requestOf({ body, signature, method = "POST", path = "/send", padding = 0 }) {
  const headers = signature === null ? {} : { "x-polaris-sig": signature };
  const content = method === "GET" ? null : body + " ".repeat(padding);
  return new Request(`https://mail.example.com${path}`, { method, headers, body: content });
}

/** The first step of the case called `name`. */
export function step(name) {
  return table.cases.find((each) => each.name === name).steps[0];
}
