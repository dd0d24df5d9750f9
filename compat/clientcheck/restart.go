package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// playRestart keeps its client while the server goes away and comes back.
func playRestart(s *stage) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	base := s.put("restart/a", "0")
	live := s.client.Watch(ctx, "restart/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	_, _ = next(live)
	past := s.client.Watch(ctx, "restart/", clientv3.WithPrefix(), clientv3.WithRev(base), clientv3.WithPrevKV())
	granted, err := s.client.Grant(s.ctx, 30)
	must(err)
	beats, err := s.client.KeepAlive(ctx, granted.ID)
	must(err)
	<-beats
	s.put("restart/leased", "1", clientv3.WithLease(granted.ID))

	lines := map[string]*strings.Builder{"live": {}, "past": {}}
	seen := map[string]int{}
	read := func(name string, channel clientv3.WatchChan, upTo int) {
		for seen[name] < upTo {
			response, open := next(channel)
			if !open || response.Err() != nil {
				fatal("%s: the watch ended: %v", name, response.Err())
			}
			for _, event := range response.Events {
				seen[name]++
				fmt.Fprintf(lines[name], "\n    %v %s=%s at +%d version %d", event.Type, event.Kv.Key, event.Kv.Value, event.Kv.ModRevision-base, event.Kv.Version)
			}
		}
	}
	written := 2
	for round, how := range []string{"restart", "kill", "restart"} {
		for i := range 5 {
			s.put("restart/a", fmt.Sprintf("%d/%d", round, i))
			written++
		}
		s.ask(how)
		// Reads are tried again by the client, writes are not: the first one waits for a read.
		for {
			short, stop := context.WithTimeout(s.ctx, 5*time.Second)
			_, err := s.client.Get(short, "restart/a")
			stop()
			if err == nil {
				break
			}
			if s.ctx.Err() != nil {
				fatal("the server does not come back: %v", err)
			}
		}
		s.put("restart/b", fmt.Sprint(round))
		written++
		read("live", live, written-1)
		read("past", past, written)
		response, err := s.client.Get(s.ctx, "restart/", clientv3.WithPrefix())
		must(err)
		s.say("%s: revision +%d, %d keys", how, response.Header.Revision-base, response.Count)
	}
	for _, name := range []string{"live", "past"} {
		s.say("%s: %d events%s", name, seen[name], lines[name])
	}
	for {
		beat := <-beats
		if beat == nil {
			fatal("the channel of a lease that lives is closed")
		}
		s.say("the lease lives: ttl=%d", beat.TTL)
		break
	}
	left, err := s.client.TimeToLive(s.ctx, granted.ID, clientv3.WithAttachedKeys())
	must(err)
	s.say("it keeps %q", left.Keys)
	_, err = s.client.Revoke(s.ctx, granted.ID)
	must(err)
	_, err = s.client.Delete(s.ctx, "restart/", clientv3.WithPrefix())
	must(err)
}
