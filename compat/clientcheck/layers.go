package main

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/clientv3util"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
)

// playLayers uses the packages that wrap the client.
func playLayers(s *stage) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()

	kv := namespace.NewKV(s.client.KV, "space/")
	watcher := namespace.NewWatcher(s.client.Watcher, "space/")
	events := watcher.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	_, _ = next(events)
	put, err := kv.Put(s.ctx, "a", "1")
	s.say("namespace put: %s", answer((*pb.PutResponse)(put), err))
	got, err := kv.Get(s.ctx, "a")
	s.say("namespace get: %s", answer((*pb.RangeResponse)(got), err))
	got, err = kv.Get(s.ctx, "\x00", clientv3.WithFromKey())
	s.say("namespace get all: %s", answer((*pb.RangeResponse)(got), err))
	txn, err := kv.Txn(s.ctx).If(clientv3util.KeyExists("a"), clientv3util.KeyMissing("b")).
		Then(clientv3.OpPut("b", "2"), clientv3.OpDelete("a", clientv3.WithPrevKV())).Commit()
	s.say("namespace txn: %s", answer((*pb.TxnResponse)(txn), err))
	s.tell("namespace", events, 3)
	lease := namespace.NewLease(s.client.Lease, "space/")
	granted, err := lease.Grant(s.ctx, 60)
	must(err)
	_, err = kv.Put(s.ctx, "leased", "", clientv3.WithLease(granted.ID))
	must(err)
	left, err := lease.TimeToLive(s.ctx, granted.ID, clientv3.WithAttachedKeys())
	must(err)
	s.say("namespace lease: %q", left.Keys)

	for i := range 1500 {
		s.put(fmt.Sprintf("mirror/%04d", i), "v")
	}
	syncer := mirror.NewSyncer(s.client, "mirror/", 0)
	base, failures := syncer.SyncBase(s.ctx)
	keys := 0
	for part := range base {
		keys += len(part.Kvs)
	}
	for err := range failures {
		s.say("mirror: %s", failure(err))
	}
	updates := syncer.SyncUpdates(ctx)
	s.put("mirror/new", "1")
	s.say("mirror: %d keys", keys)
	s.tell("mirror", updates, 1)

	ordered := ordering.NewKV(s.client.KV, func(clientv3.Op, clientv3.OpResponse, int64) error {
		return fmt.Errorf("the order is violated")
	})
	for range 3 {
		_, err = ordered.Put(s.ctx, "ordered", "1")
		must(err)
		got, err = ordered.Get(s.ctx, "ordered")
		s.say("ordering: %s", answer((*pb.RangeResponse)(got), err))
	}

	cached, closeCached, err := leasing.NewKV(s.client, "leasing/")
	must(err)
	_, err = cached.Put(s.ctx, "cached", "1")
	must(err)
	for range 2 {
		got, err = cached.Get(s.ctx, "cached")
		must(err)
		s.say("leasing: %s", got.Kvs[0].Value)
	}
	// Another cache over the same keys takes the key away from the first.
	other, closeOther, err := leasing.NewKV(s.client, "leasing/")
	must(err)
	_, err = other.Put(s.ctx, "cached", "2")
	must(err)
	got, err = cached.Get(s.ctx, "cached")
	must(err)
	s.say("leasing after another's put: %s", got.Kvs[0].Value)
	txn, err = cached.Txn(s.ctx).If(clientv3.Compare(clientv3.Value("cached"), "=", "2")).
		Then(clientv3.OpDelete("cached")).Commit()
	must(err)
	s.say("leasing txn: %v", txn.Succeeded)
	got, err = other.Get(s.ctx, "cached")
	must(err)
	s.say("leasing after the delete: %d", len(got.Kvs))
	closeCached()
	closeOther()

	kube, err := kubernetes.New(clientv3.Config{Endpoints: []string{s.endpoint}, DialTimeout: patience})
	must(err)
	defer kube.Close()
	first, err := kube.Kubernetes.OptimisticPut(s.ctx, "kube/a", []byte("1"), 0, kubernetes.PutOptions{})
	must(err)
	s.say("kubernetes create: %v", first.Succeeded)
	again, err := kube.Kubernetes.OptimisticPut(s.ctx, "kube/a", []byte("2"), 0, kubernetes.PutOptions{GetOnFailure: true})
	must(err)
	s.say("kubernetes create again: %v %s", again.Succeeded, show(again.KV))
	_, err = kube.Kubernetes.OptimisticPut(s.ctx, "kube/b", []byte("2"), 0, kubernetes.PutOptions{})
	must(err)
	list, err := kube.Kubernetes.List(s.ctx, "kube/", kubernetes.ListOptions{Limit: 1})
	must(err)
	s.say("kubernetes list: %d of %d at +%d", len(list.Kvs), list.Count, list.Revision-first.Revision)
	list, err = kube.Kubernetes.List(s.ctx, "kube/", kubernetes.ListOptions{Revision: list.Revision, Continue: "kube/a\x00"})
	must(err)
	s.say("kubernetes next page: %s of %d", show(list.Kvs[0]), list.Count)
	count, err := kube.Kubernetes.Count(s.ctx, "kube/", kubernetes.CountOptions{})
	must(err)
	s.say("kubernetes count: %d", count)
	gone, err := kube.Kubernetes.OptimisticDelete(s.ctx, "kube/a", first.Revision, kubernetes.DeleteOptions{})
	must(err)
	s.say("kubernetes delete: %v", gone.Succeeded)
	for _, prefix := range []string{"space/", "mirror/", "ordered", "cached", "leasing/", "kube/"} {
		_, err := s.client.Delete(s.ctx, prefix, clientv3.WithPrefix())
		must(err)
	}
}
