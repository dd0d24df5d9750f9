// The story of compat/clients/story.txt, told with the Node client `etcd3`.
//
//     node story.js 127.0.0.1:2379
//
// A line that begins with "@" asks whoever runs this to do something to the server, and waits for a
// line on standard input.
//
// The client takes up a broken watch and renews a lease by itself; calls are not tried again.
"use strict";

const { Etcd3, EtcdError } = require("etcd3");
const readline = require("node:readline");

const PATIENCE_MS = 30_000;
// A lease of three seconds that was renewed so often has outlived its own time.
const BEATS = 4;

const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

function say(line) {
  process.stdout.write(line + "\n");
}

async function ask(what) {
  say("@" + what);
  if ((await answers.next()).done) throw new Error(`nobody answers @${what}`);
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const pair = (kv) => `${kv.key}=${kv.value}`;
const short = (kvs) => kvs.map(pair).join(" ");
const show = (kv) =>
  `${pair(kv)} created ${kv.create_revision} modified ${kv.mod_revision} version ${kv.version}`;

// What the server says when it refuses a call; the client puts words of its own around it.
async function refusal(call) {
  try {
    await call;
  } catch (error) {
    return error.message.match(/[A-Z_]+: (.*?)( is expired or revoked)?$/)[1];
  }
  return "no refusal";
}

// Tries again while the server is away.
async function patiently(call) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof EtcdError) && !/UNAVAILABLE/.test(error.message)) throw error;
      if (Date.now() > deadline) throw error;
      await pause(50);
    }
  }
}

// The events of a prefix, in the order in which the client hands them out.
class Events {
  static async of(client, prefix, revision) {
    const events = new Events();
    const watch = client.watch().prefix(prefix).startRevision(String(revision)).withPreviousKV();
    const watcher = await watch.create();
    watcher.on("put", (kv, before) => events.take("put " + pair(kv), kv, before));
    watcher.on("delete", (kv, before) => events.take("delete " + kv.key, kv, before));
    watcher.on("error", (error) => events.fail(error));
    return events;
  }

  constructor() {
    this.waiting = [];
    this.wake = () => {};
    this.fail = (error) => {
      throw error;
    };
  }

  take(what, kv, before) {
    const earlier = before ? before.value.toString() : "nothing";
    this.waiting.push(`${what} at ${kv.mod_revision}, before ${earlier}`);
    this.wake();
  }

  // Prints so many events.
  async tell(count) {
    for (; count > 0; count--) {
      if (this.waiting.length === 0) {
        await new Promise((resolve, reject) => {
          const silence = setTimeout(() => reject(new Error("a watch is silent")), PATIENCE_MS);
          this.wake = () => (clearTimeout(silence), resolve());
        });
      }
      say(this.waiting.shift());
    }
  }
}

async function keys(client) {
  say("## keys");
  const put = await client.put("plan/a").value("1").exec();
  say(`put: revision ${put.header.revision}`);
  const before = await client.put("plan/a").value("2").getPrevious();
  say(`put again: revision ${before.header.revision}, before: ${show(before)}`);
  await client.put("plan/b").value("1");
  await client.put("plan/c").value("1");
  say(`get: ${show((await client.get("plan/a").exec()).kvs[0])}`);
  say(`get what is absent: ${(await client.get("plan/none").exec()).kvs.length}`);
  say(`prefix: ${short((await client.getAll().prefix("plan/").exec()).kvs)}`);
  const two = await client.getAll().prefix("plan/").limit(2).sort("Key", "Descend").exec();
  say(`two of them, last first: ${short(two.kvs)}, ${two.count} in all`);
  say(`at revision 2: ${show((await client.get("plan/a").revision(2).exec()).kvs[0])}`);
  // The builder gives either the values before or the rest of the response.
  const deleted = await client.kv.deleteRange({ key: Buffer.from("plan/b"), prev_kv: true });
  say(
    `delete: ${deleted.deleted} at revision ${deleted.header.revision}, before: ${show(deleted.prev_kvs[0])}`,
  );
  const all = await client.delete().prefix("plan/").exec();
  say(`delete the prefix: ${all.deleted} at revision ${all.header.revision}`);
  await client.kv.compact({ revision: 6 });
  say(`get what is compacted: ${await refusal(client.get("plan/a").revision(5).exec())}`);
  say(`get the future: ${await refusal(client.get("plan/a").revision(99).exec())}`);
  say(`put without a key: ${await refusal(client.put("").value("x").exec())}`);
}

async function transactions(client) {
  say("## transactions");
  const create = (value) =>
    client
      .if("claim", "Version", "==", 0)
      .then(client.put("claim").value(value))
      .else(client.get("claim"))
      .commit();
  const readIn = (answer) => short(answer.response_range.kvs);
  say(`created: ${(await create("mine")).succeeded}`);
  const again = await create("yours");
  say(`created again: ${again.succeeded}, there is: ${readIn(again.responses[0])}`);
  const swapped = await client
    .if("claim", "Value", "==", "mine")
    .and("claim", "Mod", "<", 99)
    .then(
      client.put("claim").value("ours"),
      client.put("side").value("1"),
      client.get("claim"),
      client.delete().key("absent"),
    )
    .commit();
  const count = swapped.responses.length;
  say(`swapped: ${swapped.succeeded}, ${count} answers, read in it: ${readIn(swapped.responses[2])}`);
  const [claim, side] = [await client.get("claim").exec(), await client.get("side").exec()];
  say(`in one revision: ${claim.kvs[0].mod_revision} ${side.kvs[0].mod_revision}`);
  const puts = ["1", "2"].map((value) => client.put("claim").value(value));
  const twice = client.if("claim", "Version", ">", 0).then(...puts).commit();
  say(`a key twice: ${await refusal(twice)}`);
}

async function watch(client) {
  say("## watch");
  const first = Number((await client.put("watch/a").value("0").exec()).header.revision) + 1;
  const lease = client.lease(60);
  const events = await Events.of(client, "watch/", first);
  await client.put("watch/a").value("1");
  await lease.put("watch/leased").value("1");
  await events.tell(2);
  for (const how of ["kill", "restart"]) {
    // Some of these are seen before the server goes, some after it has come back.
    await client.put("watch/a").value(how);
    await client.delete().key("watch/a");
    const puts = ["watch/b", "watch/c"].map((key) => client.put(key).value(how));
    await client.if("watch/none", "Version", "==", 0).then(...puts).commit();
    await ask(how);
    const all = await patiently(() => client.getAll().prefix("watch/").exec());
    say(`after ${how}: ${short(all.kvs)}`);
    await client.put("watch/a").value("2");
    await events.tell(5);
  }
  const left = await client.leaseClient.leaseTimeToLive({ ID: await lease.grant(), keys: true });
  say(`the lease: granted ${left.grantedTTL}, runs ${left.TTL > 0}, keeps ${left.keys.join(" ")}`);
  await lease.revoke();
  await events.tell(1);
}

async function leases(client) {
  say("## lease");
  const lease = client.lease(3);
  let last = Date.now();
  let beats = 0;
  const beaten = new Promise((resolve) => {
    lease.on("keepaliveSucceeded", (beat) => {
      last = Date.now();
      if (++beats > BEATS) return;
      // Told later, so that the lines of the puts come first.
      told.push(`kept alive: ${beat.TTL}`);
      if (beats === BEATS) resolve();
    });
  });
  const told = [];
  const id = await lease.grant();
  say(`granted: ${(await client.leaseClient.leaseTimeToLive({ ID: id })).grantedTTL}`);
  const put = await lease.put("lease/a").value("1").exec();
  const events = await Events.of(client, "lease/", Number(put.header.revision) + 1);
  await lease.put("lease/b").value("1");
  await events.tell(1);
  await beaten;
  told.forEach(say);
  say(`it lives: ${short((await client.getAll().prefix("lease/").exec()).kvs)}`);
  // Nobody renews it any more: both keys go, in one revision.
  lease.release();
  await events.tell(2);
  const took = Date.now() - last;
  say(`after its time: ${took > 2500}, soon after: ${took < 6000}`);
  say(`what is left: ${(await client.leaseClient.leaseTimeToLive({ ID: id })).TTL}`);
  say(`put with it: ${await refusal(client.put("lease/c").value("1").lease(id).exec())}`);
}

async function main() {
  const client = new Etcd3({ hosts: "http://" + process.argv[2] });
  for (const scene of [keys, transactions, watch, leases]) await scene(client);
  say("@end");
  process.exit(0);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
