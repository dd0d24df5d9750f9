package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// playStreams opens many streams of each kind and drops them in every state.
func playStreams(s *stage) {
	const streams = 1000
	for i := range 200 {
		s.put(fmt.Sprintf("streams/%03d", i), strings.Repeat("s", 10_000))
	}
	before := s.resident()
	for round := range 3 {
		connection, err := grpc.NewClient(s.endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
		must(err)
		ctx, cancel := context.WithCancel(s.ctx)
		watch, lease, kv := pb.NewWatchClient(connection), pb.NewLeaseClient(connection), pb.NewKVClient(connection)
		upkeep := pb.NewMaintenanceClient(connection)
		for i := range streams {
			switch i % 4 {
			case 0:
				stream, err := watch.Watch(ctx)
				must(err)
				create := &pb.WatchCreateRequest{Key: []byte("streams/"), RangeEnd: []byte("streams0"), StartRevision: int64(i % 8 / 4)}
				must(stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}))
				if i%8 == 0 {
					_, err = stream.Recv()
					must(err)
				}
			case 1:
				stream, err := lease.LeaseKeepAlive(ctx)
				must(err)
				must(stream.Send(&pb.LeaseKeepAliveRequest{ID: 1}))
			case 2:
				stream, err := kv.RangeStream(ctx, &pb.RangeRequest{Key: []byte("streams/"), RangeEnd: []byte("streams0")})
				must(err)
				if i%8 == 2 {
					_, err = stream.Recv()
					must(err)
				}
			case 3:
				if i%100 == 3 {
					stream, err := upkeep.Snapshot(ctx, &pb.SnapshotRequest{})
					must(err)
					_, err = stream.Recv()
					must(err)
				}
			}
		}
		// By turns: reset each stream, cut the connection under them.
		if round%2 == 0 {
			cancel()
		}
		must(connection.Close())
		cancel()
		s.put("streams/000", fmt.Sprint(round))
	}
	fmt.Fprintf(stderr, "MEASURED %d streams dropped: %d MiB before, %d MiB after\n", 3*streams, before>>20, s.resident()>>20)
	response, err := s.client.Get(s.ctx, "streams/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	must(err)
	s.say("%d streams dropped, the server answers: %d keys", 3*streams, response.Count)
	_, err = s.client.Delete(s.ctx, "streams/", clientv3.WithPrefix())
	must(err)
}

// playPressure writes much while somebody who watches it does not read.
func playPressure(s *stage) {
	events := 10_000
	if text := os.Getenv("CLIENTCHECK_EVENTS"); text != "" {
		number, err := strconv.Atoi(text)
		must(err)
		events = number
	}
	value := strings.Repeat("p", 1000)
	// The first round fills what grows once; the second is the measure of the third.
	var calm, stalled []time.Duration
	var growth [3]int64
	for round := range 3 {
		ctx, cancel := context.WithCancel(s.ctx)
		watching := s.client.Watch(ctx, "pressure/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		_, _ = next(watching)
		var slow *grpc.ClientConn
		if round == 2 {
			connection, err := grpc.NewClient(s.endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
			must(err)
			slow = connection
			for range 10 {
				stream, err := pb.NewWatchClient(connection).Watch(ctx)
				must(err)
				create := &pb.WatchCreateRequest{Key: []byte("pressure/"), RangeEnd: []byte("pressure0"), PrevKv: true}
				must(stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}))
				_, err = stream.Recv()
				must(err)
				// And never again.
			}
		}
		before := s.resident()
		var largest atomic.Int64
		sampling, stop := context.WithCancel(ctx)
		go func() {
			for sampling.Err() == nil {
				largest.Store(max(largest.Load(), s.resident()))
				time.Sleep(20 * time.Millisecond)
			}
		}()
		done := make(chan int)
		go func() {
			seen := 0
			for seen < events {
				response, open := <-watching
				if !open || response.Err() != nil {
					fatal("the watcher that reads was cut off: %v", response.Err())
				}
				seen += len(response.Events)
			}
			done <- seen
		}()
		took := s.putMany(events, value)
		seen := <-done
		stop()
		growth[round] = largest.Load() - before
		if round == 1 {
			calm = took
		} else if round == 2 {
			stalled = took
		}
		s.say("round %d: %d events reach the watcher that reads", round, seen)
		cancel()
		if slow != nil {
			must(slow.Close())
		}
		now, err := s.client.Get(s.ctx, "pressure/0")
		must(err)
		_, err = s.client.Compact(s.ctx, now.Header.Revision, clientv3.WithCompactPhysical())
		must(err)
	}
	fmt.Fprintf(stderr, "MEASURED %d puts of 1 KB: p50 %v p99 %v; beside 10 watchers that do not read: p50 %v p99 %v\n", events,
		quantile(calm, 50), quantile(calm, 99), quantile(stalled, 50), quantile(stalled, 99))
	fmt.Fprintf(stderr, "MEASURED resident memory grows by %d MiB, beside them by %d MiB\n", growth[1]>>20, growth[2]>>20)
	// History is memory and grows by what is written, in both rounds alike. Ten queues of all events
	// would take twice this on top.
	bound := 5 * int64(events) * 1000
	s.say("memory is bounded: %v", growth[2]-growth[1] < bound)
	_, err := s.client.Delete(s.ctx, "pressure/", clientv3.WithPrefix())
	must(err)
}

// putMany writes from several clients at once and gives the sorted times.
func (s *stage) putMany(events int, value string) []time.Duration {
	const writers = 32
	times := make([][]time.Duration, writers)
	var group sync.WaitGroup
	for writer := range writers {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := writer; i < events; i += writers {
				begun := time.Now()
				_, err := s.client.Put(s.ctx, fmt.Sprintf("pressure/%d", i%1000), value)
				must(err)
				times[writer] = append(times[writer], time.Since(begun))
			}
		}()
	}
	group.Wait()
	all := slices.Concat(times...)
	slices.Sort(all)
	return all
}

func quantile(sorted []time.Duration, percent int) time.Duration {
	return sorted[len(sorted)*percent/100].Round(10 * time.Microsecond)
}

// resident is the memory of the server in bytes, 0 if its process is not known.
func (s *stage) resident() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.pid))
	if err != nil {
		return 0
	}
	var whole, resident int64
	fmt.Sscan(string(text), &whole, &resident)
	return resident * int64(os.Getpagesize())
}
