import static java.nio.charset.StandardCharsets.UTF_8;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.Lease;
import io.etcd.jetcd.common.exception.ErrorCode;
import io.etcd.jetcd.common.exception.EtcdException;
import io.etcd.jetcd.kv.TxnResponse;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.GetOption.SortOrder;
import io.etcd.jetcd.options.GetOption.SortTarget;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.watch.WatchEvent;
import io.etcd.jetcd.watch.WatchEvent.EventType;
import io.grpc.stub.StreamObserver;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/**
 * The story of compat/clients/story.txt, told with the Java client jetcd.
 *
 * <pre>
 *     java Story 127.0.0.1:2379
 * </pre>
 *
 * A line that begins with "@" asks whoever runs this to do something to the server, and waits for a
 * line on standard input.
 *
 * The client takes up a broken watch, renews a lease and tries reads again by itself.
 */
public final class Story {
    private static final long PATIENCE_SECONDS = 30;
    /** A lease of three seconds that was renewed so often has outlived its own time. */
    private static final int BEATS = 4;

    private static final BufferedReader ANSWERS = new BufferedReader(new InputStreamReader(System.in));

    private final Client client;
    private final KV kv;
    private final Lease lease;

    private Story(String endpoint) {
        client = Client.builder()
                .endpoints("http://" + endpoint)
                .retryDelay(50)
                .retryMaxDelay(200)
                .retryMaxDuration(Duration.ofSeconds(PATIENCE_SECONDS))
                .build();
        kv = client.getKVClient();
        lease = client.getLeaseClient();
    }

    public static void main(String[] arguments) throws Exception {
        Story story = new Story(arguments[0]);
        story.keys();
        story.transactions();
        story.watch();
        story.leases();
        say("@end");
        // What the client left running in the background does not keep the process.
        System.exit(0);
    }

    private void keys() throws Exception {
        say("## keys");
        say("put: revision %d", put("plan/a", "1", 0));
        var again = await(kv.put(bytes("plan/a"), bytes("2"), PutOption.builder().withPrevKV().build()));
        say("put again: revision %d, before: %s", again.getHeader().getRevision(), show(again.getPrevKv()));
        put("plan/b", "1", 0);
        put("plan/c", "1", 0);
        say("get: %s", show(get("plan/a", GetOption.DEFAULT).get(0)));
        say("get what is absent: %d", get("plan/none", GetOption.DEFAULT).size());
        say("prefix: %s", pairs(get("plan/", GetOption.builder().isPrefix(true).build())));
        var two = await(kv.get(bytes("plan/"), GetOption.builder().isPrefix(true).withLimit(2)
                .withSortField(SortTarget.KEY).withSortOrder(SortOrder.DESCEND).build()));
        say("two of them, last first: %s, %d in all", pairs(two.getKvs()), two.getCount());
        say("at revision 2: %s", show(get("plan/a", at(2)).get(0)));
        var deleted = await(kv.delete(bytes("plan/b"), DeleteOption.builder().withPrevKV(true).build()));
        say("delete: %d at revision %d, before: %s", deleted.getDeleted(),
                deleted.getHeader().getRevision(), show(deleted.getPrevKvs().get(0)));
        deleted = await(kv.delete(bytes("plan/"), DeleteOption.builder().isPrefix(true).build()));
        say("delete the prefix: %d at revision %d", deleted.getDeleted(), deleted.getHeader().getRevision());
        await(kv.compact(6));
        say("get what is compacted: %s", refusal(kv.get(bytes("plan/a"), at(5))));
        say("get the future: %s", refusal(kv.get(bytes("plan/a"), at(99))));
        say("put without a key: %s", refusal(kv.put(bytes(""), bytes("x"))));
    }

    private void transactions() throws Exception {
        say("## transactions");
        say("created: %s", create("mine").isSucceeded());
        TxnResponse again = create("yours");
        say("created again: %s, there is: %s", again.isSucceeded(), pairs(again.getGetResponses().get(0).getKvs()));
        ByteSequence claim = bytes("claim");
        TxnResponse swapped = await(kv.txn()
                .If(new Cmp(claim, Cmp.Op.EQUAL, CmpTarget.value(bytes("mine"))),
                        new Cmp(claim, Cmp.Op.LESS, CmpTarget.modRevision(99)))
                .Then(putOp("claim", "ours"), putOp("side", "1"), Op.get(claim, GetOption.DEFAULT),
                        Op.delete(bytes("absent"), DeleteOption.DEFAULT))
                .commit());
        int answers = swapped.getPutResponses().size() + swapped.getGetResponses().size()
                + swapped.getDeleteResponses().size();
        say("swapped: %s, %d answers, read in it: %s", swapped.isSucceeded(), answers,
                pairs(swapped.getGetResponses().get(0).getKvs()));
        say("in one revision: %d %d", get("claim", GetOption.DEFAULT).get(0).getModRevision(),
                get("side", GetOption.DEFAULT).get(0).getModRevision());
        say("a key twice: %s", refusal(kv.txn().Then(putOp("claim", "1"), putOp("claim", "2")).commit()));
    }

    private TxnResponse create(String value) throws Exception {
        ByteSequence claim = bytes("claim");
        return await(kv.txn()
                .If(new Cmp(claim, Cmp.Op.EQUAL, CmpTarget.version(0)))
                .Then(putOp("claim", value))
                .Else(Op.get(claim, GetOption.DEFAULT))
                .commit());
    }

    private void watch() throws Exception {
        say("## watch");
        long first = put("watch/a", "0", 0) + 1;
        long id = await(lease.grant(60)).getID();
        Events events = new Events("watch/", first);
        put("watch/a", "1", 0);
        put("watch/leased", "1", id);
        events.tell(2);
        for (String how : List.of("kill", "restart")) {
            // Some of these are seen before the server goes, some after it has come back.
            put("watch/a", how, 0);
            await(kv.delete(bytes("watch/a")));
            await(kv.txn().Then(putOp("watch/b", how), putOp("watch/c", how)).commit());
            ask(how);
            say("after %s: %s", how, pairs(get("watch/", GetOption.builder().isPrefix(true).build())));
            put("watch/a", "2", 0);
            events.tell(5);
        }
        var left = await(lease.timeToLive(id, LeaseOption.builder().withAttachedKeys().build()));
        String kept = left.getKeys().stream().map(Story::text).collect(Collectors.joining(" "));
        say("the lease: granted %d, runs %s, keeps %s", left.getGrantedTTL(), left.getTTL() > 0, kept);
        await(lease.revoke(id));
        events.tell(1);
    }

    private void leases() throws Exception {
        say("## lease");
        var granted = await(lease.grant(3));
        say("granted: %d", granted.getTTL());
        long id = granted.getID();
        Events events = new Events("lease/", put("lease/a", "1", id) + 1);
        put("lease/b", "1", id);
        events.tell(1);
        Beats beats = new Beats();
        var keeper = lease.keepAlive(id, beats);
        for (int beat = 0; beat < BEATS; beat++) {
            say("kept alive: %d", beats.next());
        }
        say("it lives: %s", pairs(get("lease/", GetOption.builder().isPrefix(true).build())));
        // Nobody renews it any more: both keys go, in one revision.
        keeper.close();
        events.tell(2);
        double took = (System.nanoTime() - beats.last) / 1e9;
        say("after its time: %s, soon after: %s", took > 2.5, took < 6);
        say("what is left: %d", await(lease.timeToLive(id, LeaseOption.DEFAULT)).getTTL());
        say("put with it: %s", refusal(kv.put(bytes("lease/c"), bytes("1"), PutOption.builder().withLeaseId(id).build())));
    }

    /** The answers to renewals, and when the last one came. */
    private static final class Beats implements StreamObserver<LeaseKeepAliveResponse> {
        private final BlockingQueue<Long> ttls = new LinkedBlockingQueue<>();
        private volatile long last;

        @Override
        public void onNext(LeaseKeepAliveResponse response) {
            last = System.nanoTime();
            ttls.add(response.getTTL());
        }

        @Override
        public void onError(Throwable failure) {
            fail("the lease is lost", failure);
        }

        @Override
        public void onCompleted() {
            // Ended by this program.
        }

        long next() throws InterruptedException {
            Long ttl = ttls.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
            if (ttl == null) {
                fail("a lease is silent", null);
            }
            return ttl;
        }
    }

    /** The events of a prefix, in the order in which the client hands them out. */
    private final class Events {
        private final BlockingQueue<WatchEvent> waiting = new LinkedBlockingQueue<>();

        Events(String prefix, long revision) {
            WatchOption option = WatchOption.builder().isPrefix(true).withRevision(revision).withPrevKV(true).build();
            client.getWatchClient().watch(bytes(prefix), option,
                    response -> waiting.addAll(response.getEvents()),
                    this::broken);
        }

        /** Told of each break; the client takes the watch up again unless the server refused it. */
        private void broken(Throwable failure) {
            if (!(failure instanceof EtcdException known) || known.getErrorCode() != ErrorCode.UNAVAILABLE) {
                fail("a watch has ended", failure);
            }
        }

        /** Prints so many events. */
        void tell(int count) throws InterruptedException {
            for (; count > 0; count--) {
                WatchEvent event = waiting.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
                if (event == null) {
                    fail("a watch is silent", null);
                }
                KeyValue now = event.getKeyValue();
                KeyValue before = event.getPrevKV();
                // Where there was nothing the client hands out a key that was never written.
                String earlier = before.getVersion() == 0 ? "nothing" : text(before.getValue());
                String what = event.getEventType() == EventType.PUT ? "put " + pair(now) : "delete " + text(now.getKey());
                say("%s at %d, before %s", what, now.getModRevision(), earlier);
            }
        }
    }

    private long put(String key, String value, long leaseId) throws Exception {
        PutOption option = PutOption.builder().withLeaseId(leaseId).build();
        return await(kv.put(bytes(key), bytes(value), option)).getHeader().getRevision();
    }

    private List<KeyValue> get(String key, GetOption option) throws Exception {
        return await(kv.get(bytes(key), option)).getKvs();
    }

    private static GetOption at(long revision) {
        return GetOption.builder().withRevision(revision).build();
    }

    private static Op putOp(String key, String value) {
        return Op.put(bytes(key), bytes(value), PutOption.DEFAULT);
    }

    private static <T> T await(CompletableFuture<T> answer) throws Exception {
        return answer.get(PATIENCE_SECONDS, TimeUnit.SECONDS);
    }

    /** What the server says when it refuses a call. */
    private static String refusal(CompletableFuture<?> answer) throws Exception {
        try {
            await(answer);
            return "no refusal";
        } catch (ExecutionException refused) {
            // The client's own exception repeats gRPC's code before the text, its cause as well.
            return refused.getCause().getMessage().replaceFirst("^([\\w.]+: )?[A-Z_]+: ", "");
        }
    }

    private static ByteSequence bytes(String text) {
        return ByteSequence.from(text, UTF_8);
    }

    private static String text(ByteSequence bytes) {
        return bytes.toString(UTF_8);
    }

    private static String pair(KeyValue kv) {
        return text(kv.getKey()) + "=" + text(kv.getValue());
    }

    private static String pairs(List<KeyValue> kvs) {
        return kvs.stream().map(Story::pair).collect(Collectors.joining(" "));
    }

    private static String show(KeyValue kv) {
        return "%s created %d modified %d version %d".formatted(
                pair(kv), kv.getCreateRevision(), kv.getModRevision(), kv.getVersion());
    }

    private static void say(String line, Object... values) {
        System.out.println(line.formatted(values));
        System.out.flush();
    }

    private static void ask(String what) throws IOException {
        say("@" + what);
        if (ANSWERS.readLine() == null) {
            fail("nobody answers @" + what, null);
        }
    }

    private static void fail(String what, Throwable failure) {
        say("FATAL %s: %s", what, failure);
        System.exit(1);
    }
}
