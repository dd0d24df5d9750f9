package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"
)

// playRecipes runs the client's own recipes, which are built on keys, leases and watches.
func playRecipes(s *stage) {
	session := func() *concurrency.Session {
		session, err := concurrency.NewSession(s.client, concurrency.WithTTL(10), concurrency.WithContext(s.ctx))
		must(err)
		return session
	}
	one, two := session(), session()
	named := func(text string) string {
		text = strings.ReplaceAll(text, fmt.Sprintf("%x", one.Lease()), "ONE")
		return strings.ReplaceAll(text, fmt.Sprintf("%x", two.Lease()), "TWO")
	}

	first, second := concurrency.NewMutex(one, "mutex"), concurrency.NewMutex(two, "mutex")
	s.say("lock: %s %s", failure(first.Lock(s.ctx)), named(first.Key()))
	s.say("try: locked=%v", errors.Is(second.TryLock(s.ctx), concurrency.ErrLocked))
	waiting := make(chan error)
	go func() { waiting <- second.Lock(s.ctx) }()
	s.say("unlock: %s", failure(first.Unlock(s.ctx)))
	s.say("the other has it: %s %s", failure(<-waiting), named(second.Key()))
	owner, err := s.client.Txn(s.ctx).If(second.IsOwner()).Commit()
	must(err)
	s.say("owner: %v", owner.Succeeded)
	s.say("unlock: %s", failure(second.Unlock(s.ctx)))
	s.say("unlock twice: %s", failure(second.Unlock(s.ctx)))
	// A session that ends gives its locks away.
	must(first.Lock(s.ctx))
	go func() { waiting <- second.Lock(s.ctx) }()
	must(one.Close())
	s.say("after the owner's end: %s", failure(<-waiting))
	must(second.Unlock(s.ctx))
	_, open := <-one.Done()
	s.say("the session is done: %v", !open)
	s.say("lock without a session: %s", failure(concurrency.NewMutex(one, "mutex").Lock(s.ctx)))

	one = session()
	left, right := concurrency.NewElection(one, "election"), concurrency.NewElection(two, "election")
	_, err = left.Leader(s.ctx)
	s.say("no leader: %v", errors.Is(err, concurrency.ErrElectionNoLeader))
	observing, stop := context.WithCancel(s.ctx)
	observed := left.Observe(observing)
	must(left.Campaign(s.ctx, "left"))
	go func() { waiting <- right.Campaign(s.ctx, "right") }()
	s.say("observed: %s", (<-observed).Kvs[0].Value)
	must(left.Proclaim(s.ctx, "left again"))
	s.say("observed: %s", (<-observed).Kvs[0].Value)
	leader, err := right.Leader(s.ctx)
	must(err)
	s.say("leader: %s %s", named(string(leader.Kvs[0].Key)), leader.Kvs[0].Value)
	must(left.Resign(s.ctx))
	s.say("the other leads: %s", failure(<-waiting))
	s.say("observed: %s", (<-observed).Kvs[0].Value)
	s.say("proclaim without leading: %s", failure(left.Proclaim(s.ctx, "x")))
	stop()
	must(right.Resign(s.ctx))

	for _, account := range []string{"a", "b", "c", "d"} {
		s.put("stm/"+account, "100")
	}
	levels := []concurrency.Isolation{concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads}
	for _, level := range levels {
		var workers sync.WaitGroup
		for worker := range 4 {
			workers.Add(1)
			go func() {
				defer workers.Done()
				for round := range 5 {
					from, to := "stm/"+string("abcd"[worker]), "stm/"+string("abcd"[(worker+round)%4])
					transfer := func(stm concurrency.STM) error {
						var have, gets int
						fmt.Sscan(stm.Get(from), &have)
						if from == to {
							return nil
						}
						fmt.Sscan(stm.Get(to), &gets)
						stm.Put(from, fmt.Sprint(have-1))
						stm.Put(to, fmt.Sprint(gets+1))
						return nil
					}
					_, err := concurrency.NewSTM(s.client, transfer, concurrency.WithIsolation(level), concurrency.WithAbortContext(s.ctx))
					must(err)
				}
			}()
		}
		workers.Wait()
		sum := 0
		accounts, err := s.client.Get(s.ctx, "stm/", clientv3.WithPrefix())
		must(err)
		for _, account := range accounts.Kvs {
			have := 0
			fmt.Sscan(string(account.Value), &have)
			sum += have
		}
		s.say("isolation %d: %d accounts hold %d", level, len(accounts.Kvs), sum)
	}

	queue := recipe.NewQueue(s.client, "queue")
	must(queue.Enqueue("1"))
	must(queue.Enqueue("2"))
	for range 2 {
		value, err := queue.Dequeue()
		s.say("dequeued %s: %s", value, failure(err))
	}
	ranked := recipe.NewPriorityQueue(s.client, "ranked")
	must(ranked.Enqueue("late", 5))
	must(ranked.Enqueue("soon", 1))
	for range 2 {
		value, err := ranked.Dequeue()
		s.say("dequeued by rank %s: %s", value, failure(err))
	}
	barrier := recipe.NewBarrier(s.client, "barrier")
	must(barrier.Hold())
	s.say("held twice: %v", barrier.Hold())
	go func() { waiting <- barrier.Wait() }()
	must(barrier.Release())
	s.say("released: %s", failure(<-waiting))
	read, write := recipe.NewRWMutex(one, "rw"), recipe.NewRWMutex(two, "rw")
	must(read.RLock())
	go func() { waiting <- write.Lock() }()
	must(read.RUnlock())
	s.say("write lock after the reader: %s", failure(<-waiting))
	must(write.Unlock())
	double := recipe.NewDoubleBarrier(one, "double", 2)
	other := recipe.NewDoubleBarrier(two, "double", 2)
	go func() { waiting <- other.Enter() }()
	s.say("entered: %s", failure(double.Enter()))
	s.say("entered: %s", failure(<-waiting))
	go func() { waiting <- other.Leave() }()
	s.say("left: %s", failure(double.Leave()))
	s.say("left: %s", failure(<-waiting))
	must(one.Close())
	must(two.Close())
	for _, prefix := range []string{"mutex", "election", "stm", "queue", "ranked", "__ranked", "barrier", "rw", "double"} {
		_, err := s.client.Delete(s.ctx, prefix, clientv3.WithPrefix())
		must(err)
	}
}
