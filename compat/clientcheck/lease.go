package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// playLease grants, renews, asks, revokes, and lets a lease end.
func playLease(s *stage) {
	grant := func(ttl int64) clientv3.LeaseID {
		response, err := s.client.Grant(s.ctx, ttl)
		if err != nil {
			s.say("grant %d: %s", ttl, failure(err))
			return 0
		}
		s.say("grant %d: %s ttl=%d error=%q chosen=%v", ttl, show(response.ResponseHeader), response.TTL, response.Error, response.ID > 0)
		return response.ID
	}
	ttl := func(what string, id clientv3.LeaseID) {
		response, err := s.client.TimeToLive(s.ctx, id, clientv3.WithAttachedKeys())
		if err != nil {
			s.say("%s: %s", what, failure(err))
			return
		}
		// Their order is not defined.
		slices.SortFunc(response.Keys, bytes.Compare)
		left := response.TTL
		if left > 0 {
			left = 1
		}
		s.say("%s: %s granted=%d left=%d echoed=%v keys=%q", what, show(response.ResponseHeader), response.GrantedTTL, left, response.ID == id, response.Keys)
	}
	for _, seconds := range []int64{-7, 0, 1, 60, 9_000_000_000, 9_000_000_001} {
		if id := grant(seconds); id != 0 {
			_, err := s.client.Revoke(s.ctx, id)
			must(err)
		}
	}
	id := grant(60)
	response, err := s.client.Put(s.ctx, "lease/a", "1", clientv3.WithLease(id))
	s.say("put: %s", answer((*pb.PutResponse)(response), err))
	s.put("lease/b", "1", clientv3.WithLease(id))
	ttl("with keys", id)
	got, err := s.client.Get(s.ctx, "lease/a")
	must(err)
	s.say("the key knows its lease: %v", got.Kvs[0].Lease == int64(id))
	s.put("lease/b", "2", clientv3.WithIgnoreLease())
	ttl("lease ignored by a put", id)
	s.put("lease/b", "3")
	ttl("one key detached", id)
	list, err := s.client.Leases(s.ctx)
	must(err)
	found := false
	for _, lease := range list.Leases {
		found = found || lease.ID == id
	}
	s.say("listed: %v", found)
	once, err := s.client.KeepAliveOnce(s.ctx, id)
	must(err)
	s.say("once: %s ttl=%d", show(once.ResponseHeader), once.TTL)
	revoked, err := s.client.Revoke(s.ctx, id)
	s.say("revoke: %s", answer((*pb.LeaseRevokeResponse)(revoked), err))
	ttl("revoked", id)
	_, err = s.client.Revoke(s.ctx, id)
	s.say("revoke again: %s", failure(err))
	_, err = s.client.KeepAliveOnce(s.ctx, id)
	s.say("keep alive what is gone: %s", failure(err))
	_, err = s.client.Put(s.ctx, "lease/c", "1", clientv3.WithLease(id))
	s.say("put with what is gone: %s", failure(err))

	// The channel of a lease that is kept alive is closed when the lease is revoked.
	id = grant(5)
	channel, err := s.client.KeepAlive(s.ctx, id)
	must(err)
	for range 2 {
		beat := <-channel
		s.say("beat: ttl=%d", beat.TTL)
	}
	_, err = s.client.Revoke(s.ctx, id)
	must(err)
	closed := time.After(patience)
	for open := true; open; {
		select {
		case _, open = <-channel:
		case <-closed:
			fatal("the channel of a revoked lease stays open")
		}
	}
	s.say("the channel is closed")
	_, err = s.client.KeepAlive(s.ctx, id)
	s.say("a channel for what is gone: %v", err)

	// A lease that nobody renews ends soon after its time, and its keys with it in one revision.
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	begun := time.Now()
	id = grant(2)
	base := s.put("lease/x", "1", clientv3.WithLease(id))
	s.put("lease/y", "2", clientv3.WithLease(id))
	events := s.client.Watch(ctx, "lease/", clientv3.WithPrefix(), clientv3.WithRev(base), clientv3.WithPrevKV())
	for {
		left, err := s.client.TimeToLive(s.ctx, id)
		must(err)
		if left.TTL == -1 {
			break
		}
		if time.Since(begun) > patience {
			fatal("a lease of 2 s never ends")
		}
		time.Sleep(20 * time.Millisecond)
	}
	took := time.Since(begun)
	s.say("ended in time: early=%v late=%v", took < 2*time.Second, took > 3*time.Second)
	fmt.Fprintf(stderr, "MEASURED a lease of 2 s reads TTL -1 after %v\n", took.Round(10*time.Millisecond))
	ttl("ended", id)
	var lines int
	for lines < 4 {
		response, _ := next(events)
		for _, event := range response.Events {
			lines++
			prev := ""
			if event.PrevKv != nil {
				prev = fmt.Sprintf(" before %s=%s leased=%v", event.PrevKv.Key, event.PrevKv.Value, event.PrevKv.Lease == int64(id))
			}
			s.say("event: %v %s at %d%s", event.Type, event.Kv.Key, event.Kv.ModRevision-base, prev)
		}
	}
	_, err = s.client.KeepAliveOnce(s.ctx, id)
	s.say("keep alive what has ended: %s", failure(err))
	_, err = s.client.Delete(s.ctx, "lease/", clientv3.WithPrefix())
	must(err)
	var halted clientv3.ErrKeepAliveHalted
	s.say("halted: %v", errors.As(err, &halted))
}
