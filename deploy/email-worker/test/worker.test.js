/** What the Worker does beyond the protocol: settings, what it hands on, what it logs, and trouble around it. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { handle } from "../dist/handler.js";
import { readSettings } from "../dist/settings.js";
import { environment, Kv, requestOf, step, table } from "./support.js";

const GOOD = step("secret A signs");

async function post(env, request = GOOD, now = table.now) {
  const lines = [];
  const answer = await handle(requestOf(request), env, now, (line) => lines.push(JSON.parse(line)));
  return { status: answer.status, body: await answer.json(), headers: answer.headers, lines };
}

test("a mail is handed on as fields, with both versions", async () => {
  const env = environment();

  const { body } = await post(env);

  assert.deepEqual(body, { ok: true, id: "message-1" });
  assert.deepEqual(env.EMAIL.sent, [
    {
      to: "ada@example.org",
      from: { name: "Polaris", email: "noreply@example.com" },
      replyTo: "support@example.com",
      subject: "Grüße, 24,318 kWh",
      html: "<p>Hällo & welcome</p>",
      text: "Hällo\r\nand welcome\r\n",
      headers: {},
    },
  ]);
});

test("answers go to the default where a mail does not say", async () => {
  const env = environment({ DEFAULT_REPLY_TO: "Help <help@example.com>" });

  await post(env, step("an answer address is not needed"));

  assert.deepEqual(env.EMAIL.sent[0].replyTo, { name: "Help", email: "help@example.com" });
});

test("one line of log names hashes only", async () => {
  const { lines } = await post(environment());

  const nonce = JSON.parse(GOOD.body).nonce;
  assert.equal(lines.length, 1);
  assert.deepEqual(Object.keys(lines[0]).sort(), ["category", "level", "message", "nonce_hash", "status", "to_hash"]);
  assert.equal(lines[0].message, "send ok");
  assert.equal(lines[0].nonce_hash, createHash("sha256").update(nonce).digest("hex"));
  assert.match(lines[0].to_hash, /^[0-9a-f]{64}$/);
  assert.notEqual(lines[0].to_hash, createHash("sha256").update("ada@example.org").digest("hex"));
});

test("a wrong signature is called by its name in the log", async () => {
  const { lines } = await post(environment(), step("another secret does not"));

  assert.deepEqual(lines, [{ level: "warn", message: "hmac mismatch", status: 401, error: "unauthorized" }]);
});

test("a GET is told what is allowed", async () => {
  const { headers } = await post(environment(), step("nor is GET"));

  assert.equal(headers.get("allow"), "POST");
});

for (const path of ["/", "/send/", "/SEND"]) {
  test(`nothing is at ${path}`, async () => {
    assert.equal((await post(environment(), { ...GOOD, path })).status, 404);
  });
}

const unusable = {
  "no secret": { POLARIS_SECRET_A: "", POLARIS_SECRET_B: undefined },
  "a short secret": { POLARIS_SECRET_A: "short" },
  "a secret with a line end": { POLARIS_SECRET_B: `${"b".repeat(32)}\n` },
  "no senders": { ALLOWED_SENDERS: " , " },
  "a sender that is none": { ALLOWED_SENDERS: "noreply@example.com, polaris" },
  "nonces that are forgotten too early": { NONCE_TTL_SECONDS: "299" },
  "a window that is longer than nonces are kept": { TS_WINDOW_MS: 600_001 },
  "nonces for less than KV keeps": { NONCE_TTL_SECONDS: 59, TS_WINDOW_MS: 1000 },
  "a limit of nothing": { RATE_LIMIT_MAX: "0" },
  "a limit that is no number": { RATE_LIMIT_WINDOW_SECONDS: "soon" },
};
for (const [name, changes] of Object.entries(unusable)) {
  test(`${name}: nothing is sent, and the log names the variable`, async () => {
    const env = environment(changes);

    const { status, body, lines } = await post(env);

    assert.deepEqual([status, body, env.EMAIL.sent], [500, { error: "misconfigured" }, []]);
    assert.match(lines[0].message, /POLARIS_SECRET_[AB]|ALLOWED_SENDERS|NONCE_TTL_SECONDS|RATE_LIMIT|TS_WINDOW/);
    assert.doesNotMatch(JSON.stringify(lines), /short|soon|bbbb/);
  });
}

test("settings have the documented defaults, and nonces may be kept exactly for the window", () => {
  const { windowMs, nonceTtlSeconds, rateLimitMax, rateLimitWindowSeconds } = readSettings(environment());
  assert.deepEqual([windowMs, nonceTtlSeconds, rateLimitMax, rateLimitWindowSeconds], [300_000, 600, 5, 600]);
  readSettings(environment({ NONCE_TTL_SECONDS: 300 }));
});

test("while nonces are kept for the window alone, a mail from the future is still refused the second time", async () => {
  const env = environment({ NONCE_TTL_SECONDS: 300 });
  const early = step("from the future it is refused for longer");
  env.EMAIL_NONCE_DEDUP.now = table.now;
  await post(env, early);
  env.EMAIL_NONCE_DEDUP.now = table.now + 599_000;

  const { status } = await post(env, early, table.now + 599_000);

  assert.equal(status, 409);
});

const failures = [
  ["E_RECIPIENT_SUPPRESSED", 422],
  ["E_VALIDATION_ERROR", 422],
  ["E_DAILY_LIMIT_EXCEEDED", 502],
  ["E_SENDER_NOT_VERIFIED", 502],
  ["E_INTERNAL_SERVER_ERROR", 502],
];
for (const [code, expected] of failures) {
  test(`${code} answers ${expected}, names no address and does not count`, async () => {
    const env = environment();
    env.EMAIL.failure = code;

    const { status, body, lines } = await post(env);

    assert.deepEqual([status, body], [expected, { error: code.toLowerCase() }]);
    assert.doesNotMatch(JSON.stringify(lines), /@/);
    assert.deepEqual([...env.EMAIL_NONCE_DEDUP.entries.keys()].filter((key) => key.startsWith("rate:")), []);
  });
}

test("a failure without a code says no more than that", async () => {
  const env = environment();
  env.EMAIL.failure = "could not reach ada@example.org";

  assert.deepEqual((await post(env)).body, { error: "e_unknown" });
});

for (const broken of ["get", "put", "list"]) {
  test(`when KV's ${broken} fails, nothing is sent`, async () => {
    const env = environment();
    env.EMAIL_NONCE_DEDUP[broken] = () => Promise.reject(new Error("KV is away"));

    const { status, body } = await post(env);

    assert.deepEqual([status, body, env.EMAIL.sent], [503, { error: "unavailable" }, []]);
  });
}

test("a mail that left and could not be counted is not sent again", async () => {
  const env = environment();
  const put = Kv.prototype.put.bind(env.EMAIL_NONCE_DEDUP);
  env.EMAIL_NONCE_DEDUP.put = (key, ...rest) =>
    key.startsWith("rate:") ? Promise.reject(new Error("KV is away")) : put(key, ...rest);

  const { status, lines } = await post(env);

  assert.equal(status, 200);
  assert.deepEqual(lines.map((line) => line.message), ["not counted", "send ok"]);
});

test("a secret that is gone signs no more", async () => {
  const { status } = await post(environment({ POLARIS_SECRET_A: undefined }));

  assert.equal(status, 401);
});

test("KV holds hashes only", async () => {
  const env = environment();
  await post(env);

  assert.doesNotMatch(JSON.stringify([...env.EMAIL_NONCE_DEDUP.entries]), /@|example|session/);
});
