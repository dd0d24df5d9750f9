package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// next gives the next response of a watch, and ends the program if there is none in time.
func next(channel clientv3.WatchChan) (clientv3.WatchResponse, bool) {
	select {
	case response, open := <-channel:
		return response, open
	case <-time.After(patience):
		fatal("a watch is silent")
		panic("unreachable")
	}
}

func describe(response clientv3.WatchResponse) string {
	line := fmt.Sprintf("%s created=%v canceled=%v compact=%d error=%s",
		show(response.Header), response.Created, response.Canceled, response.CompactRevision, failure(response.Err()))
	for _, event := range response.Events {
		line += fmt.Sprintf("\n    %v %s", event.Type, show(event.Kv))
		if event.PrevKv != nil {
			line += " before " + show(event.PrevKv)
		}
	}
	return line
}

// tell prints responses until so many events have come.
func (s *stage) tell(what string, channel clientv3.WatchChan, events int) {
	for events > 0 {
		response, open := next(channel)
		if !open {
			s.say("%s: closed", what)
			return
		}
		s.say("%s: %s", what, describe(response))
		events -= len(response.Events)
		if response.Canceled {
			return
		}
	}
}

func (s *stage) put(key, value string, options ...clientv3.OpOption) int64 {
	response, err := s.client.Put(s.ctx, key, value, options...)
	must(err)
	return response.Header.Revision
}

// playWatch follows keys with each option of the client.
func playWatch(s *stage) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	base := s.put("watch/old", "1")
	created := clientv3.WithCreatedNotify()
	follow := func(key string, options ...clientv3.OpOption) clientv3.WatchChan {
		channel := s.client.Watch(ctx, key, append(options, created)...)
		response, _ := next(channel)
		s.say("watch %s: %s", key, describe(response))
		return channel
	}
	one := follow("watch/a")
	all := follow("watch/", clientv3.WithPrefix())
	before := follow("watch/a", clientv3.WithPrevKV())
	puts := follow("watch/", clientv3.WithPrefix(), clientv3.WithFilterDelete())
	deletes := follow("watch/", clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithPrevKV())
	future := follow("watch/a", clientv3.WithRev(base+3))
	s.put("watch/a", "1")
	s.put("watch/a", "2")
	_, err := s.client.Delete(s.ctx, "watch/a")
	must(err)
	_, err = s.client.Txn(s.ctx).Then(clientv3.OpPut("watch/a", "3"), clientv3.OpPut("watch/b", "1"),
		clientv3.OpDelete("watch/old")).Commit()
	must(err)
	s.tell("one key", one, 4)
	s.tell("prefix", all, 6)
	s.tell("with the value before", before, 4)
	s.tell("puts only", puts, 4)
	s.tell("deletes only", deletes, 2)
	s.tell("from the future", future, 2)
	past := follow("watch/", clientv3.WithPrefix(), clientv3.WithRev(base), clientv3.WithPrevKV())
	var events []string
	for len(events) < 7 {
		response, _ := next(past)
		for _, event := range response.Events {
			events = append(events, fmt.Sprintf("%v %s before %s", event.Type, show(event.Kv), show(event.PrevKv)))
		}
	}
	s.say("from the past:\n    %s", strings.Join(events, "\n    "))

	// A request for progress is answered by a response without events to every watch.
	progress, stop := context.WithCancel(clientv3.WithRequireLeader(s.ctx))
	asked := s.client.Watch(progress, "watch/p", created)
	_, _ = next(asked)
	s.put("watch/p", "1")
	s.tell("before progress", asked, 1)
	s.put("watch/elsewhere", "1")
	must(s.client.RequestProgress(progress))
	response, _ := next(asked)
	s.say("progress: notify=%v %s", response.IsProgressNotify(), describe(response))
	stop()
	for range asked {
	}
	s.say("a canceled watch is closed")

	empty := s.client.Watch(ctx, "watch/z", clientv3.WithRange("watch/a"))
	response, _ = next(empty)
	s.say("empty range: %s", describe(response))
	negative := s.client.Watch(ctx, "watch/z", clientv3.WithRev(-5))
	response, _ = next(negative)
	s.say("negative revision: %s", describe(response))
}

// playFragments reads a transaction that is too large for one message.
func playFragments(s *stage) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	channel := s.client.Watch(ctx, "fragment/", clientv3.WithPrefix(), clientv3.WithFragment(), clientv3.WithCreatedNotify())
	_, _ = next(channel)
	// Neither transaction reaches the request limit alone, the history of both does.
	for round := range 4 {
		var ops []clientv3.Op
		for i := range 14 {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("fragment/%d/%02d", round, i), strings.Repeat("f", 100_000)))
		}
		_, err := s.client.Txn(s.ctx).Then(ops...).Commit()
		must(err)
	}
	for seen := 0; seen < 56; {
		response, _ := next(channel)
		seen += len(response.Events)
	}
	s.say("56 events live")
	first, err := s.client.Get(s.ctx, "fragment/0/00")
	must(err)
	again := s.client.Watch(ctx, "fragment/", clientv3.WithPrefix(), clientv3.WithFragment(), clientv3.WithRev(first.Kvs[0].CreateRevision))
	for seen := 0; seen < 56; {
		response, open := next(again)
		if !open || response.Err() != nil {
			fatal("the watch of the history ended: %v", response.Err())
		}
		for _, event := range response.Events {
			s.say("%s", show(event.Kv))
		}
		seen += len(response.Events)
	}
	_, err = s.client.Delete(s.ctx, "fragment/", clientv3.WithPrefix())
	must(err)
}

// playCompaction asks for what is gone.
func playCompaction(s *stage) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	base := s.put("compact/a", "1")
	for i := range 5 {
		s.put("compact/a", fmt.Sprint(i))
	}
	compact := func(revision int64, options ...clientv3.CompactOption) {
		response, err := s.client.Compact(s.ctx, revision, options...)
		s.say("compact %d: %s", revision-base, answer((*pb.CompactionResponse)(response), err))
	}
	compact(base + 1000)
	compact(-1)
	compact(base + 3)
	compact(base + 3)
	compact(base)
	compact(base+4, clientv3.WithCompactPhysical())
	compact(base+4, clientv3.WithCompactPhysical())
	for revision := base + 2; revision <= base+6; revision++ {
		response, err := s.client.Get(s.ctx, "compact/a", clientv3.WithRev(revision))
		s.say("get at %d: %s", revision-base, answer((*pb.RangeResponse)(response), err))
	}
	channel := s.client.Watch(ctx, "compact/a", clientv3.WithRev(base))
	for {
		response, open := next(channel)
		if !open {
			break
		}
		s.say("watch of what is gone: %s", describe(response))
	}
	s.tell("watch from the edge", s.client.Watch(ctx, "compact/a", clientv3.WithRev(base+4), clientv3.WithPrevKV()), 2)
}
