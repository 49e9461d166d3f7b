/** The Worker answers as the protocol's table says. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { handle } from "../dist/handler.js";
import { environment, requestOf, table } from "./support.js";

for (const { name, steps, sent } of table.cases) {
  test(name, async () => {
    const env = environment();
    const lines = [];
    for (const step of steps) {
      const now = table.now + (step.at ?? 0) * 1000;
      env.EMAIL_NONCE_DEDUP.now = now;

      const answer = await handle(requestOf(step), env, now, (line) => lines.push(line));

      const body = await answer.json();
      assert.equal(answer.status, step.status, JSON.stringify(body));
      if (step.error !== null) {
        assert.deepEqual(body, { error: step.error });
      }
    }
    assert.equal(env.EMAIL.sent.length, sent);
    assert.equal(lines.length, steps.length);
    assert.doesNotMatch(lines.join("\n"), /@|example/);
  });
}
