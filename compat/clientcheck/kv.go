package main

import (
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

// playKV puts, reads and deletes with each option of the client.
func playKV(s *stage) {
	put := func(key, value string, options ...clientv3.OpOption) {
		response, err := s.client.Put(s.ctx, key, value, options...)
		s.say("put %s: %s", key, answer((*pb.PutResponse)(response), err))
	}
	get := func(what, key string, options ...clientv3.OpOption) {
		response, err := s.client.Get(s.ctx, key, options...)
		s.say("get %s: %s", what, answer((*pb.RangeResponse)(response), err))
	}
	del := func(what, key string, options ...clientv3.OpOption) {
		response, err := s.client.Delete(s.ctx, key, options...)
		s.say("delete %s: %s", what, answer((*pb.DeleteRangeResponse)(response), err))
	}
	get("of nothing", "kv/a")
	put("kv/a", "1")
	put("kv/a", "2", clientv3.WithPrevKV())
	put("kv/a", "", clientv3.WithPrevKV())
	put("kv/a", "", clientv3.WithIgnoreValue())
	put("kv/a", "", clientv3.WithIgnoreLease(), clientv3.WithPrevKV())
	put("kv/absent", "", clientv3.WithIgnoreValue())
	put("kv/absent", "x", clientv3.WithIgnoreLease())
	for i, value := range []string{"delta", "alpha", "echo", "bravo", "charlie"} {
		put(fmt.Sprintf("kv/s%d", i), value)
	}
	put("kv/s3", "bravo2")
	put("kv/s1", "alpha2")
	first, err := s.client.Get(s.ctx, "kv/s0")
	must(err)
	base := first.Kvs[0].ModRevision

	prefix := clientv3.WithPrefix()
	get("prefix", "kv/s", prefix)
	get("from key", "kv/s3", clientv3.WithFromKey())
	get("range", "kv/s1", clientv3.WithRange("kv/s4"))
	get("empty range", "kv/s4", clientv3.WithRange("kv/s1"))
	get("limit", "kv/s", prefix, clientv3.WithLimit(2))
	get("limit of all", "kv/s", prefix, clientv3.WithLimit(5))
	get("negative limit", "kv/s", prefix, clientv3.WithLimit(-1))
	get("count", "kv/s", prefix, clientv3.WithCountOnly())
	get("count with limit", "kv/s", prefix, clientv3.WithCountOnly(), clientv3.WithLimit(1))
	get("keys", "kv/s", prefix, clientv3.WithKeysOnly())
	get("serializable", "kv/s2", clientv3.WithSerializable())
	get("old", "kv/s", prefix, clientv3.WithRev(base+1))
	get("old with limit", "kv/s", prefix, clientv3.WithRev(base+4), clientv3.WithLimit(2))
	get("min mod", "kv/s", prefix, clientv3.WithMinModRev(base+3))
	get("max mod", "kv/s", prefix, clientv3.WithMaxModRev(base+3), clientv3.WithLimit(1))
	get("min create", "kv/s", prefix, clientv3.WithMinCreateRev(base+3))
	get("max create", "kv/s", prefix, clientv3.WithMaxCreateRev(base+1))
	get("future", "kv/s", prefix, clientv3.WithRev(base+1000))
	get("first create", "kv/s", clientv3.WithFirstCreate()...)
	get("last rev", "kv/s", clientv3.WithLastRev()...)
	get("last key", "kv/s", clientv3.WithLastKey()...)
	targets := map[string]clientv3.SortTarget{
		"key": clientv3.SortByKey, "version": clientv3.SortByVersion, "value": clientv3.SortByValue,
		"create": clientv3.SortByCreateRevision, "mod": clientv3.SortByModRevision,
	}
	for _, name := range []string{"key", "version", "value", "create", "mod"} {
		for _, order := range []clientv3.SortOrder{clientv3.SortNone, clientv3.SortAscend, clientv3.SortDescend} {
			sorted := clientv3.WithSort(targets[name], order)
			get(fmt.Sprint(name, order), "kv/s", prefix, sorted)
			get(fmt.Sprint(name, order, " limit"), "kv/s", prefix, sorted, clientv3.WithLimit(3))
			get(fmt.Sprint(name, order, " keys"), "kv/s", prefix, sorted, clientv3.WithKeysOnly(), clientv3.WithLimit(4))
		}
	}

	del("nothing", "kv/none")
	del("one", "kv/s0")
	del("one again", "kv/s0", clientv3.WithPrevKV())
	del("range", "kv/s1", clientv3.WithRange("kv/s3"), clientv3.WithPrevKV())
	get("before the deletes", "kv/s", prefix, clientv3.WithRev(base+6))
	put("kv/s0", "anew")
	get("anew", "kv/s0")
	del("the rest", "kv/", clientv3.WithPrefix(), clientv3.WithPrevKV())

	// Keys and values are bytes.
	put("kv/\x00", "\xff\x00")
	put("kv/\xff", strings.Repeat("v", 100))
	get("bytes", "kv/", prefix)
	response, err := s.client.Do(s.ctx, clientv3.OpPut("kv/do", "1"))
	must(err)
	s.say("do put: %s", show((*pb.PutResponse)(response.Put())))
	response, err = s.client.Do(s.ctx, clientv3.OpGet("kv/do"))
	must(err)
	s.say("do get: %s", show((*pb.RangeResponse)(response.Get())))
	response, err = s.client.Do(s.ctx, clientv3.OpDelete("kv/do", clientv3.WithPrevKV()))
	must(err)
	s.say("do delete: %s", show((*pb.DeleteRangeResponse)(response.Del())))
	del("prefix", "kv/", clientv3.WithPrefix())
}

// playTxn builds transactions with the client's words.
func playTxn(s *stage) {
	commit := func(what string, txn clientv3.Txn) {
		response, err := txn.Commit()
		s.say("%s: %s", what, answer((*pb.TxnResponse)(response), err))
	}
	_, err := s.client.Put(s.ctx, "txn/a", "b")
	must(err)
	get, put, del := clientv3.OpGet, clientv3.OpPut, clientv3.OpDelete
	compares := []struct {
		what    string
		compare clientv3.Cmp
	}{
		{"value", clientv3.Compare(clientv3.Value("txn/a"), "=", "b")},
		{"value !=", clientv3.Compare(clientv3.Value("txn/a"), "!=", "b")},
		{"value <", clientv3.Compare(clientv3.Value("txn/a"), "<", "c")},
		{"value >", clientv3.Compare(clientv3.Value("txn/a"), ">", "c")},
		{"version", clientv3.Compare(clientv3.Version("txn/a"), "=", 1)},
		{"create", clientv3.Compare(clientv3.CreateRevision("txn/a"), ">", 0)},
		{"mod", clientv3.Compare(clientv3.ModRevision("txn/a"), "<", 1)},
		{"lease", clientv3.Compare(clientv3.LeaseValue("txn/a"), "=", 0)},
		{"missing version", clientv3.Compare(clientv3.Version("txn/none"), "=", 0)},
		{"missing value", clientv3.Compare(clientv3.Value("txn/none"), "!=", "x")},
		{"range", clientv3.Compare(clientv3.Version("txn/").WithPrefix(), ">", 0)},
		{"empty range", clientv3.Compare(clientv3.CreateRevision("txn/zz").WithPrefix(), "=", 0)},
		{"empty range of values", clientv3.Compare(clientv3.Value("txn/zz").WithPrefix(), "=", "")},
	}
	for _, c := range compares {
		commit(c.what, s.client.Txn(s.ctx).If(c.compare).Then(get("txn/a")).Else(get("txn/none")))
	}
	commit("empty", s.client.Txn(s.ctx))
	commit("all operations", s.client.Txn(s.ctx).Then(
		get("txn/x"), put("txn/x", "1"), get("txn/x"), del("txn/a", clientv3.WithPrevKV()),
		put("txn/y", "2", clientv3.WithPrevKV()), get("txn/", clientv3.WithPrefix())))
	commit("read only", s.client.Txn(s.ctx).Then(get("txn/x"), get("txn/", clientv3.WithPrefix(), clientv3.WithCountOnly())))
	commit("delete nothing", s.client.Txn(s.ctx).Then(del("txn/none"), get("txn/x")))
	commit("else", s.client.Txn(s.ctx).If(clientv3.Compare(clientv3.Version("txn/x"), "=", 7)).
		Then(put("txn/never", "")).Else(put("txn/else", "1"), del("txn/y"), get("txn/y")))
	nested := clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.Value("txn/x"), "=", "1")},
		[]clientv3.Op{put("txn/n", "1"), clientv3.OpTxn(nil, []clientv3.Op{put("txn/m", "1"), get("txn/n")}, nil)},
		[]clientv3.Op{put("txn/n", "2")})
	commit("nested", s.client.Txn(s.ctx).Then(put("txn/o", "1"), nested, get("txn/", clientv3.WithPrefix())))
	commit("nested sees the state before", s.client.Txn(s.ctx).Then(put("txn/x", "9"), nested))
	commit("nested reads only", s.client.Txn(s.ctx).Then(clientv3.OpTxn(nil, []clientv3.Op{get("txn/x")}, nil)))
	commit("duplicate", s.client.Txn(s.ctx).Then(put("txn/d", "1"), put("txn/d", "2")))
	commit("delete and put", s.client.Txn(s.ctx).Then(del("txn/", clientv3.WithPrefix()), put("txn/d", "2")))
	commit("from key and put", s.client.Txn(s.ctx).Then(put("txn/q", "1"), del("txn/q", clientv3.WithFromKey())))
	commit("future read", s.client.Txn(s.ctx).Then(put("txn/f", "1"), get("txn/f", clientv3.WithRev(1<<40))))
	var wide []clientv3.Op
	for i := range 128 {
		wide = append(wide, put(fmt.Sprintf("txn/w%03d", i), "v"))
	}
	commit("128 operations", s.client.Txn(s.ctx).Then(wide...))
	commit("129 operations", s.client.Txn(s.ctx).Then(append(wide, put("txn/w128", "v"))...))
	response, err := s.client.Delete(s.ctx, "txn/", clientv3.WithPrefix())
	s.say("delete: %s", answer((*pb.DeleteRangeResponse)(response), err))
}

// playStream reads with RangeStream, which newer clients use for long lists.
func playStream(s *stage) {
	value := strings.Repeat("stream", 700)
	for i := range 600 {
		_, err := s.client.Put(s.ctx, fmt.Sprintf("stream/%04d", i), value)
		must(err)
	}
	stream := func(what, key string, options ...clientv3.OpOption) {
		chunks, err := s.client.GetStream(s.ctx, key, options...)
		if err != nil {
			s.say("stream %s: refused: %s", what, failure(err))
			return
		}
		whole := &pb.RangeResponse{}
		last, received, bytes := (*pb.RangeResponse)(nil), 0, 0
		for chunk := range chunks {
			if err := chunk.Err(); err != nil {
				s.say("stream %s: failed: %s", what, failure(err))
				return
			}
			if last != nil && (last.Header != nil || last.More || last.Count != 0 || len(last.Kvs) == 0) {
				s.say("stream %s: an early message has more than keys, or none", what)
			}
			last = chunk.RangeResponse
			bytes += proto.Size(last)
			whole.Kvs = append(whole.Kvs, last.Kvs...)
			whole.Header, whole.More, whole.Count = last.Header, last.More, last.Count
			received++
		}
		line := "nothing"
		if n := len(whole.Kvs); n > 4 {
			// Where a server cuts is its own affair, as long as it does cut what is long.
			line = fmt.Sprintf("%d keys from %s to %s, in parts: %v", n, whole.Kvs[0].Key, whole.Kvs[n-1].Key, bytes < 2<<20 || received > 1)
			whole.Kvs = nil
		} else {
			line = fmt.Sprintf("%d messages", received)
		}
		s.say("stream %s: %s %s", what, line, show(whole))
	}
	prefix := clientv3.WithPrefix()
	stream("all", "stream/", prefix)
	stream("one", "stream/0001")
	stream("nothing", "stream/none")
	stream("count", "stream/", prefix, clientv3.WithCountOnly())
	stream("keys", "stream/", prefix, clientv3.WithKeysOnly())
	stream("limit", "stream/", prefix, clientv3.WithLimit(123))
	stream("limit 2", "stream/", prefix, clientv3.WithLimit(2))
	stream("serializable", "stream/", prefix, clientv3.WithSerializable())
	stream("sorted by key", "stream/", prefix, clientv3.WithSort(clientv3.SortByKey, clientv3.SortAscend), clientv3.WithLimit(1))
	stream("descending", "stream/", prefix, clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	stream("by mod", "stream/", prefix, clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortAscend))
	stream("filtered", "stream/", prefix, clientv3.WithMinModRev(3))
	stream("future", "stream/", prefix, clientv3.WithRev(1<<40))
	stream("no key", "", clientv3.WithLimit(1))
	now, err := s.client.Get(s.ctx, "stream/0000")
	must(err)
	_, err = s.client.Delete(s.ctx, "stream/", prefix)
	must(err)
	stream("after delete", "stream/", prefix)
	stream("old", "stream/", prefix, clientv3.WithRev(now.Header.Revision))
	stream("old with limit", "stream/", prefix, clientv3.WithRev(now.Header.Revision), clientv3.WithLimit(3))
}
