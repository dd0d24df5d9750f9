"""The story of compat/clients/story.txt, told with the Python client `etcd3`.

    python story.py 127.0.0.1:2379

A line that begins with "@" asks whoever runs this to do something to the server, and waits for a
line on standard input.

The client neither takes up a broken watch again nor renews a lease by itself: programs that use it
do both, and so does this one.
"""

import queue
import sys
import time

import etcd3
import grpc

PATIENCE_SECONDS = 30
# A lease that is renewed this often has outlived its own time.
BEATS = 4
BEAT_SECONDS = 1


def say(line):
    print(line, flush=True)


def ask(what):
    say("@" + what)
    if not sys.stdin.readline():
        sys.exit(f"nobody answers @{what}")


def show(kv):
    return (
        f"{kv.key.decode()}={kv.value.decode()} created {kv.create_revision}"
        f" modified {kv.mod_revision} version {kv.version}"
    )


def short(kvs):
    return " ".join(f"{kv.key.decode()}={kv.value.decode()}" for kv in kvs)


def refusal(call):
    """What the server says when it refuses a call."""
    try:
        call()
    except grpc.RpcError as error:
        return error.details()
    return "no refusal"


def patiently(call):
    """Tries again while the server is away."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except etcd3.exceptions.ConnectionFailedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class Watch:
    """Events of a prefix, taken up again after the last one when the stream breaks."""

    def __init__(self, client, prefix, revision):
        self.client, self.prefix, self.next_revision = client, prefix, revision
        self.broken, self.events = False, queue.Queue()
        self.open()

    def open(self):
        self.broken = False
        self.client.add_watch_prefix_callback(
            self.prefix, self.take, start_revision=self.next_revision, prev_kv=True
        )

    def take(self, response):
        if isinstance(response, Exception):
            self.broken = True
            return
        for event in response.events:
            # All events of a revision come in one response: the next begins after it.
            self.next_revision = event.mod_revision + 1
            self.events.put(event)

    def tell(self, count):
        """Prints so many events."""
        for _ in range(count):
            event = self.next()
            revision = event.mod_revision
            before = event.prev_value.decode() if event._event.HasField("prev_kv") else "nothing"
            if isinstance(event, etcd3.events.PutEvent):
                say(f"put {event.key.decode()}={event.value.decode()} at {revision}, before {before}")
            else:
                say(f"delete {event.key.decode()} at {revision}, before {before}")

    def next(self):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                return self.events.get(timeout=0.05)
            except queue.Empty:
                if self.broken:
                    patiently(self.open)
        sys.exit("a watch is silent")


def keys(client):
    say("## keys")
    say(f"put: revision {client.put('plan/a', '1').header.revision}")
    again = client.put("plan/a", "2", prev_kv=True)
    say(f"put again: revision {again.header.revision}, before: {show(again.prev_kv)}")
    client.put("plan/b", "1")
    client.put("plan/c", "1")
    say(f"get: {show(client.get_response('plan/a').kvs[0])}")
    say(f"get what is absent: {len(client.get_response('plan/none').kvs)}")
    say(f"prefix: {short(client.get_prefix_response('plan/').kvs)}")

    # The rest of the range's options are not in the methods, but in the messages beneath them.
    def get(key, **options):
        request = etcd3.etcdrpc.RangeRequest(key=key, **options)
        return client.kvstub.Range(request, timeout=PATIENCE_SECONDS)

    descend = etcd3.etcdrpc.RangeRequest.DESCEND
    two = get(b"plan/", range_end=b"plan0", limit=2, sort_order=descend)
    say(f"two of them, last first: {short(two.kvs)}, {two.count} in all")
    say(f"at revision 2: {show(get(b'plan/a', revision=2).kvs[0])}")
    deleted = client.delete("plan/b", prev_kv=True, return_response=True)
    say(f"delete: {deleted.deleted} at revision {deleted.header.revision}, before: {show(deleted.prev_kvs[0])}")
    deleted = client.delete_prefix("plan/")
    say(f"delete the prefix: {deleted.deleted} at revision {deleted.header.revision}")
    client.compact(6)
    say(f"get what is compacted: {refusal(lambda: get(b'plan/a', revision=5))}")
    say(f"get the future: {refusal(lambda: get(b'plan/a', revision=99))}")
    say(f"put without a key: {refusal(lambda: client.put('', 'x'))}")


def transactions(client):
    say("## transactions")
    txn = client.transactions

    def create(value):
        return client.transaction(
            compare=[txn.version("claim") == 0],
            success=[txn.put("claim", value)],
            failure=[txn.get("claim")],
        )

    say(f"created: {create('mine')[0]}".lower())
    won, [found] = create("yours")
    say(f"created again: {won}, there is: {short_of(found)}".lower())
    won, answers = client.transaction(
        compare=[txn.value("claim") == "mine", txn.mod("claim") < 99],
        success=[txn.put("claim", "ours"), txn.put("side", "1"), txn.get("claim"), txn.delete("absent")],
        failure=[],
    )
    say(f"swapped: {won}, {len(answers)} answers, read in it: {short_of(answers[2])}".lower())
    both = client.get_response("claim").kvs[0], client.get_response("side").kvs[0]
    say(f"in one revision: {both[0].mod_revision} {both[1].mod_revision}")
    twice = [txn.put("claim", "1"), txn.put("claim", "2")]
    say(f"a key twice: {refusal(lambda: client.transaction([], twice, []))}")


def short_of(found):
    return " ".join(f"{meta.key.decode()}={value.decode()}" for value, meta in found)


def watch(client):
    say("## watch")
    first = client.put("watch/a", "0").header.revision + 1
    lease = client.lease(60)
    events = Watch(client, "watch/", first)
    client.put("watch/a", "1")
    client.put("watch/leased", "1", lease=lease)
    events.tell(2)
    for how in ("kill", "restart"):
        # Some of these are seen before the server goes, some after it has come back.
        client.put("watch/a", how)
        client.delete("watch/a")
        txn = client.transactions
        client.transaction([], [txn.put("watch/b", how), txn.put("watch/c", how)], [])
        ask(how)
        say(f"after {how}: {patiently(lambda: short(client.get_prefix_response('watch/').kvs))}")
        client.put("watch/a", "2")
        events.tell(5)
    left = client.get_lease_info(lease.id)
    say(f"the lease: granted {left.grantedTTL}, runs {left.TTL > 0}, keeps {b' '.join(left.keys).decode()}".lower())
    lease.revoke()
    events.tell(1)


def leases(client):
    say("## lease")
    lease = client.lease(3)
    say(f"granted: {lease.ttl}")
    events = Watch(client, "lease/", client.put("lease/a", "1", lease=lease).header.revision + 1)
    client.put("lease/b", "1", lease=lease)
    events.tell(1)
    for _ in range(BEATS):
        [beat] = lease.refresh()
        say(f"kept alive: {beat.TTL}")
        last = time.monotonic()
        time.sleep(BEAT_SECONDS)
    say(f"it lives: {short(client.get_prefix_response('lease/').kvs)}")
    # Nobody renews it any more: both keys go, in one revision.
    events.tell(2)
    took = time.monotonic() - last
    say(f"after its time: {took > 2.5}, soon after: {took < 6}".lower())
    say(f"what is left: {client.get_lease_info(lease.id).TTL}")
    say(f"put with it: {refusal(lambda: client.put('lease/c', '1', lease=lease))}")


def main():
    host, port = sys.argv[1].split(":")
    client = etcd3.client(host=host, port=int(port), timeout=PATIENCE_SECONDS)
    for scene in (keys, transactions, watch, leases):
        scene(client)
    say("@end")


main()
