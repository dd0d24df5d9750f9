package main

import (
	"context"
	"fmt"
	"io"
	"math"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// A request as it goes over the wire, past everything that the client library would check or mend.
type request struct {
	what    string
	message proto.Message
}

// send makes the call that belongs to a request.
func (s *stage) send(message proto.Message) (proto.Message, error) {
	connection := s.client.ActiveConnection()
	kv, lease := pb.NewKVClient(connection), pb.NewLeaseClient(connection)
	upkeep := pb.NewMaintenanceClient(connection)
	switch message := message.(type) {
	case *pb.RangeRequest:
		return kv.Range(s.ctx, message)
	case *pb.PutRequest:
		return kv.Put(s.ctx, message)
	case *pb.DeleteRangeRequest:
		return kv.DeleteRange(s.ctx, message)
	case *pb.TxnRequest:
		return kv.Txn(s.ctx, message)
	case *pb.CompactionRequest:
		return kv.Compact(s.ctx, message)
	case *pb.LeaseGrantRequest:
		return lease.LeaseGrant(s.ctx, message)
	case *pb.LeaseRevokeRequest:
		return lease.LeaseRevoke(s.ctx, message)
	case *pb.LeaseTimeToLiveRequest:
		return lease.LeaseTimeToLive(s.ctx, message)
	case *pb.LeaseLeasesRequest:
		return lease.LeaseLeases(s.ctx, message)
	case *pb.AlarmRequest:
		return upkeep.Alarm(s.ctx, message)
	case *pb.HashKVRequest:
		return upkeep.HashKV(s.ctx, message)
	case *pb.StatusRequest:
		return upkeep.Status(s.ctx, message)
	case *pb.DefragmentRequest:
		return upkeep.Defragment(s.ctx, message)
	case *pb.MemberListRequest:
		return pb.NewClusterClient(connection).MemberList(s.ctx, message)
	}
	panic(fmt.Sprintf("no call takes a %T", message))
}

func (s *stage) sendAll(requests []request) {
	for _, request := range requests {
		s.say("%s: %s", request.what, answer(s.send(request.message)))
	}
}

// Short words for the operations of a transaction.
func rangeOp(request *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: request}}
}

func putOp(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}
}

func leasedOp(key string, lease int64) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Lease: lease}}}
}

func deleteOp(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func txnOp(request *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: request}}
}

func then(ops ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: ops} }

func either(success, failure []*pb.RequestOp) *pb.TxnRequest {
	return &pb.TxnRequest{Success: success, Failure: failure}
}

func compare(target pb.Compare_CompareTarget, result pb.Compare_CompareResult, key string) *pb.Compare {
	return &pb.Compare{Target: target, Result: result, Key: []byte(key)}
}

func repeat(n int, op func(int) *pb.RequestOp) []*pb.RequestOp {
	var ops []*pb.RequestOp
	for i := range n {
		ops = append(ops, op(i))
	}
	return ops
}

func deep(depth int, inner *pb.RequestOp) *pb.TxnRequest {
	txn := then(inner)
	for range depth {
		txn = then(txnOp(txn))
	}
	return txn
}

// playRequests sends what no client library would.
func playRequests(s *stage) {
	bytes := func(text string) []byte { return []byte(text) }
	for _, key := range []string{"r/a", "r/b", "r/c"} {
		s.put(key, key)
	}
	base := s.put("r/b", "again")
	s.sendAll([]request{
		{"range: nothing at all", &pb.RangeRequest{}},
		{"range: an end only", &pb.RangeRequest{RangeEnd: bytes("z")}},
		{"range: no key and a bad sort", &pb.RangeRequest{SortOrder: 9}},
		{"range: unknown order", &pb.RangeRequest{Key: bytes("r/a"), SortOrder: 3}},
		{"range: negative order", &pb.RangeRequest{Key: bytes("r/a"), SortOrder: -1}},
		{"range: unknown target", &pb.RangeRequest{Key: bytes("r/a"), SortTarget: 5}},
		{"range: unknown both", &pb.RangeRequest{Key: bytes("r/a"), SortTarget: 77, SortOrder: 77}},
		{"range: negative limit", &pb.RangeRequest{Key: bytes("r/"), RangeEnd: bytes("r0"), Limit: -5}},
		{"range: least limit", &pb.RangeRequest{Key: bytes("r/"), RangeEnd: bytes("r0"), Limit: math.MinInt64}},
		{"range: largest limit", &pb.RangeRequest{Key: bytes("r/"), RangeEnd: bytes("r0"), Limit: math.MaxInt64}},
		{"range: negative revision", &pb.RangeRequest{Key: bytes("r/a"), Revision: -1}},
		{"range: least revision", &pb.RangeRequest{Key: bytes("r/a"), Revision: math.MinInt64}},
		{"range: largest revision", &pb.RangeRequest{Key: bytes("r/a"), Revision: math.MaxInt64}},
		{"range: next revision", &pb.RangeRequest{Key: bytes("r/a"), Revision: base + 1}},
		{"range: this revision", &pb.RangeRequest{Key: bytes("r/a"), Revision: base}},
		{"range: negative filters", &pb.RangeRequest{Key: bytes("r/"), RangeEnd: bytes("r0"), MinModRevision: -9, MaxModRevision: -1}},
		{"range: filters and count", &pb.RangeRequest{Key: bytes("r/"), RangeEnd: bytes("r0"), MinModRevision: base, CountOnly: true}},
		{"range: filters and limit", &pb.RangeRequest{Key: bytes("r/"), RangeEnd: bytes("r0"), MinModRevision: base - 1, Limit: 1}},
		{"range: filters and keys", &pb.RangeRequest{Key: bytes("r/"), RangeEnd: bytes("r0"), MaxCreateRevision: base - 2, KeysOnly: true}},
		{"range: keys and count", &pb.RangeRequest{Key: bytes("r/"), RangeEnd: bytes("r0"), KeysOnly: true, CountOnly: true}},
		{"range: end is zero", &pb.RangeRequest{Key: bytes("r/b"), RangeEnd: bytes("\x00"), Limit: 1}},
		{"range: end is two zeros", &pb.RangeRequest{Key: bytes("r/b"), RangeEnd: bytes("\x00\x00")}},
		{"range: end is the key", &pb.RangeRequest{Key: bytes("r/b"), RangeEnd: bytes("r/b")}},
		{"range: none but a target", &pb.RangeRequest{Key: bytes("r/"), RangeEnd: bytes("r0"), SortTarget: pb.RangeRequest_MOD, Limit: 2}},
		{"range: descending keys only by value", &pb.RangeRequest{Key: bytes("r/"), RangeEnd: bytes("r0"), SortTarget: pb.RangeRequest_VALUE, SortOrder: pb.RangeRequest_DESCEND, KeysOnly: true}},
		{"put: nothing", &pb.PutRequest{}},
		{"put: no key, and a value to ignore", &pb.PutRequest{Value: bytes("x"), IgnoreValue: true}},
		{"put: a value to ignore", &pb.PutRequest{Key: bytes("r/p"), Value: bytes("x"), IgnoreValue: true}},
		{"put: a lease to ignore", &pb.PutRequest{Key: bytes("r/p"), Lease: 5, IgnoreLease: true}},
		{"put: both to ignore", &pb.PutRequest{Key: bytes("r/p"), Value: bytes("x"), Lease: 5, IgnoreValue: true, IgnoreLease: true}},
		{"put: both to keep of nothing", &pb.PutRequest{Key: bytes("r/none"), IgnoreValue: true, IgnoreLease: true}},
		{"put: unknown lease before an absent key", &pb.PutRequest{Key: bytes("r/none"), Lease: 5, IgnoreValue: true}},
		{"put: least lease", &pb.PutRequest{Key: bytes("r/p"), Lease: math.MinInt64}},
		{"put: largest lease", &pb.PutRequest{Key: bytes("r/p"), Lease: math.MaxInt64}},
		{"put: touch", &pb.PutRequest{Key: bytes("r/a"), IgnoreValue: true, IgnoreLease: true, PrevKv: true}},
		{"put: prev of nothing", &pb.PutRequest{Key: bytes("r/p"), PrevKv: true}},
		{"delete: nothing", &pb.DeleteRangeRequest{}},
		{"delete: an end only", &pb.DeleteRangeRequest{RangeEnd: bytes("z")}},
		{"delete: reversed", &pb.DeleteRangeRequest{Key: bytes("r/z"), RangeEnd: bytes("r/a"), PrevKv: true}},
		{"delete: one", &pb.DeleteRangeRequest{Key: bytes("r/p"), PrevKv: true}},
		{"compact: negative", &pb.CompactionRequest{Revision: -1}},
		{"compact: least", &pb.CompactionRequest{Revision: math.MinInt64}},
		{"compact: largest", &pb.CompactionRequest{Revision: math.MaxInt64}},
	})
	s.playTxnRequests()
	for _, lease := range []int64{-1, math.MinInt64, math.MaxInt64} {
		s.sendAll([]request{
			{"grant", &pb.LeaseGrantRequest{ID: lease, TTL: 100}},
			{"grant again", &pb.LeaseGrantRequest{ID: lease, TTL: 100}},
			{"put", &pb.PutRequest{Key: bytes("r/l"), Lease: lease}},
			{"get", &pb.RangeRequest{Key: bytes("r/l")}},
			{"compare", &pb.TxnRequest{Compare: []*pb.Compare{{Key: bytes("r/l"), Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: lease}}}}},
			{"revoke", &pb.LeaseRevokeRequest{ID: lease}},
			{"revoke again", &pb.LeaseRevokeRequest{ID: lease}},
			{"time to live", &pb.LeaseTimeToLiveRequest{ID: lease, Keys: true}},
		})
	}
	s.sendAll([]request{
		{"grant: nothing, refused", &pb.LeaseGrantRequest{TTL: math.MaxInt64}},
		{"grant: least time", &pb.LeaseGrantRequest{ID: 77, TTL: math.MinInt64}},
		{"revoke: nothing", &pb.LeaseRevokeRequest{}},
		{"time to live: nothing", &pb.LeaseTimeToLiveRequest{}},
		{"revoke", &pb.LeaseRevokeRequest{ID: 77}},
		{"delete all", &pb.DeleteRangeRequest{Key: bytes("r/"), RangeEnd: bytes("r0")}},
	})
	s.playStreamRequests()
}

func (s *stage) playTxnRequests() {
	bytes := func(text string) []byte { return []byte(text) }
	get := rangeOp(&pb.RangeRequest{Key: bytes("r/a")})
	puts := func(n int) []*pb.RequestOp {
		return repeat(n, func(i int) *pb.RequestOp { return putOp(fmt.Sprintf("r/t%d", i), "") })
	}
	gets := func(n int) []*pb.RequestOp {
		return repeat(n, func(int) *pb.RequestOp { return get })
	}
	compares := func(n int) []*pb.Compare {
		var list []*pb.Compare
		for range n {
			list = append(list, compare(pb.Compare_VERSION, pb.Compare_GREATER, "r/a"))
		}
		return list
	}
	requests := []request{
		{"empty", &pb.TxnRequest{}},
		{"an empty operation", then(&pb.RequestOp{})},
		{"an empty operation in the other branch", either(nil, []*pb.RequestOp{{}})},
		{"an empty operation after a bad one", then(putOp("", ""), &pb.RequestOp{})},
		{"an empty range", then(rangeOp(&pb.RangeRequest{}))},
		{"an empty put", then(putOp("", ""))},
		{"an empty delete", then(deleteOp("", "z"))},
		{"an empty transaction inside", then(txnOp(&pb.TxnRequest{}))},
		{"a bad sort inside", then(rangeOp(&pb.RangeRequest{Key: bytes("r/a"), SortTarget: 9}))},
		{"a bad put in the other branch", either(nil, []*pb.RequestOp{putOp("", "")})},
		{"a compare without key", &pb.TxnRequest{Compare: []*pb.Compare{{}}}},
		{"a compare without key before a bad put", &pb.TxnRequest{Compare: []*pb.Compare{{}}, Success: []*pb.RequestOp{putOp("", "")}}},
		{"128 gets", then(gets(128)...)},
		{"129 gets", then(gets(129)...)},
		{"129 others", either(nil, gets(129))},
		{"129 compares", &pb.TxnRequest{Compare: compares(129)}},
		{"128 of each", &pb.TxnRequest{Compare: compares(128), Success: gets(128), Failure: gets(128)}},
		{"129 bad ones", then(repeat(129, func(int) *pb.RequestOp { return putOp("", "") })...)},
		{"a deep one", deep(5, putOp("r/deep", "1"))},
		{"64 in 64", then(append(gets(63), txnOp(then(gets(64)...)))...)},
		{"64 in 65", then(append(gets(64), txnOp(then(gets(64)...)))...)},
		{"65 in 64", then(append(gets(63), txnOp(then(gets(65)...)))...)},
		// Deeper than this etcd goes on to 127; nobody does.
		{"39 deep", deep(39, get)},
		{"128 deep", deep(128, get)},
		{"2000 deep", deep(2000, get)},
		{"the same key twice", then(putOp("r/d", ""), putOp("r/d", ""))},
		{"the same key in both branches", either([]*pb.RequestOp{putOp("r/d", "")}, []*pb.RequestOp{putOp("r/d", "")})},
		{"twice in the other branch", either(nil, []*pb.RequestOp{putOp("r/d", ""), putOp("r/d", "")})},
		{"put and delete", then(putOp("r/d", ""), deleteOp("r/d", ""))},
		{"delete and put", then(deleteOp("r/a", "r/z"), putOp("r/d", ""))},
		{"delete beside put", then(deleteOp("r/a", "r/d"), putOp("r/d", ""))},
		{"two deletes", then(deleteOp("r/x", "r/z"), deleteOp("r/y", "r/zz"))},
		{"put, then put inside", then(putOp("r/d", ""), txnOp(then(putOp("r/d", ""))))},
		{"put inside both branches", then(txnOp(either([]*pb.RequestOp{putOp("r/d", "")}, []*pb.RequestOp{putOp("r/d", "")})))},
		{"put inside two", then(txnOp(then(putOp("r/d", ""))), txnOp(then(putOp("r/d", ""))))},
		{"put inside, delete after", then(txnOp(then(putOp("r/d", ""))), deleteOp("r/d", ""))},
		{"put inside one, delete inside the next", then(txnOp(then(putOp("r/d", "1"))), txnOp(then(deleteOp("r/d", ""))))},
		{"delete inside one, put inside the next", then(txnOp(then(deleteOp("r/d", ""))), txnOp(then(putOp("r/d", "1"))))},
		{"delete inside, put after", then(txnOp(then(deleteOp("r/d", ""))), putOp("r/d", "1"))},
		{"put and delete from its key on", then(putOp("r/q", "1"), deleteOp("r/q", "\x00"), rangeOp(&pb.RangeRequest{Key: bytes("r/q")}))},
		{"delete from a key on and put", then(deleteOp("r/q", "\x00"), putOp("r/q", "2"), rangeOp(&pb.RangeRequest{Key: bytes("r/q")}))},
		{"an unknown lease", then(putOp("r/u", ""), leasedOp("r/v", 99))},
		{"an unknown lease in the branch not taken", either([]*pb.RequestOp{putOp("r/u", "")}, []*pb.RequestOp{leasedOp("r/v", 99)})},
		{"revision -1 inside", then(rangeOp(&pb.RangeRequest{Key: bytes("r/a"), Revision: -1}))},
		{"revision -2 inside", then(putOp("r/u", ""), rangeOp(&pb.RangeRequest{Key: bytes("r/a"), Revision: -2}))},
		{"revision -2 inside a reading one", then(rangeOp(&pb.RangeRequest{Key: bytes("r/a"), Revision: -2}))},
		{"the future inside", then(rangeOp(&pb.RangeRequest{Key: bytes("r/a"), Revision: 1 << 50}))},
		{"the future in the branch not taken", either([]*pb.RequestOp{get}, []*pb.RequestOp{rangeOp(&pb.RangeRequest{Key: bytes("r/a"), Revision: 1 << 50})})},
		{"keep the value of nothing", then(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: bytes("r/none"), IgnoreValue: true}}})},
		{"serializable", then(rangeOp(&pb.RangeRequest{Key: bytes("r/a"), Serializable: true}))},
		{"sorted inside", then(rangeOp(&pb.RangeRequest{Key: bytes("r/"), RangeEnd: bytes("r/d"), SortTarget: pb.RangeRequest_MOD, SortOrder: pb.RangeRequest_DESCEND, Limit: 2, KeysOnly: true}))},
		{"puts", then(puts(128)...)},
	}
	for _, target := range []pb.Compare_CompareTarget{0, 1, 2, 3, 4, 5, -1} {
		for _, result := range []pb.Compare_CompareResult{0, 1, 2, 3, 4, -1} {
			for _, key := range []string{"r/a", "r/none"} {
				bare := compare(target, result, key)
				other := compare(target, result, key)
				other.TargetUnion = &pb.Compare_Version{Version: 1}
				value := compare(target, result, key)
				value.TargetUnion = &pb.Compare_Value{Value: bytes("r/a")}
				negative := compare(target, result, key)
				negative.TargetUnion = &pb.Compare_ModRevision{ModRevision: -4}
				for _, c := range []*pb.Compare{bare, other, value, negative} {
					requests = append(requests, request{"compare " + show(c), &pb.TxnRequest{Compare: []*pb.Compare{c}}})
				}
			}
		}
	}
	for _, end := range []string{"\x00", "r/c", "r/0", "r/zz"} {
		c := compare(pb.Compare_VERSION, pb.Compare_GREATER, "r/a")
		c.RangeEnd = bytes(end)
		requests = append(requests, request{fmt.Sprintf("compare up to %q", end), &pb.TxnRequest{Compare: []*pb.Compare{c}}})
	}
	for _, request := range requests {
		request.what = "txn: " + request.what
		response, err := s.send(request.message)
		line := answer(response, err)
		if len(line) > 3000 {
			line = fmt.Sprintf("(%d letters) %s", len(line), line[:1000])
		}
		s.say("%s: %s", request.what, line)
	}
}

// playStreamRequests opens range streams with bad arguments.
func (s *stage) playStreamRequests() {
	kv := pb.NewKVClient(s.client.ActiveConnection())
	requests := []*pb.RangeRequest{
		{}, {SortOrder: 9}, {Key: []byte("r/a"), SortOrder: 9}, {Key: []byte("r/a"), SortTarget: 9},
		{Key: []byte("r/a"), SortOrder: 2}, {Key: []byte("r/a"), SortOrder: 1}, {Key: []byte("r/a"), SortTarget: 3, SortOrder: 1},
		{Key: []byte("r/a"), MinModRevision: 1}, {Key: []byte("r/a"), MaxCreateRevision: -1},
		{Key: []byte("r/a"), Revision: math.MaxInt64}, {Key: []byte("r/a"), Revision: -7},
		{Key: []byte("r/a"), Limit: -7}, {Key: []byte("r/a"), CountOnly: true, Limit: 1},
		{Key: []byte("r/a"), CountOnly: true, SortOrder: 2}, {Key: []byte("r/z"), RangeEnd: []byte("r/a")},
	}
	for _, request := range requests {
		stream, err := kv.RangeStream(s.ctx, request)
		must(err)
		line := ""
		for {
			response, err := stream.Recv()
			if err == io.EOF {
				line += " end"
				break
			}
			if err != nil {
				line += " " + failure(err)
				break
			}
			line += " " + show(response)
		}
		s.say("range stream %s:%s", show(request), line)
	}
}

// playLeaseRequests renews over one raw stream: known, unknown, many at once.
func playLeaseRequests(s *stage) {
	lease := pb.NewLeaseClient(s.client.ActiveConnection())
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	stream, err := lease.LeaseKeepAlive(ctx)
	must(err)
	_, err = lease.LeaseGrant(s.ctx, &pb.LeaseGrantRequest{ID: 42, TTL: 50})
	must(err)
	ids := []int64{42, 0, -1, math.MaxInt64, math.MinInt64, 42, 42, 43}
	for _, id := range ids {
		must(stream.Send(&pb.LeaseKeepAliveRequest{ID: id}))
	}
	for range ids {
		response, err := stream.Recv()
		s.say("keep alive: %s", answer(response, err))
	}
	must(stream.CloseSend())
	_, err = stream.Recv()
	s.say("after the client's end: %v", err)
	canceled, stop := context.WithCancel(s.ctx)
	stream, err = lease.LeaseKeepAlive(canceled)
	must(err)
	must(stream.Send(&pb.LeaseKeepAliveRequest{ID: 42}))
	_, err = stream.Recv()
	must(err)
	stop()
	_, err = stream.Recv()
	s.say("after the client's cancel: %s", failure(err))
	s.sendAll([]request{{"revoke", &pb.LeaseRevokeRequest{ID: 42}}, {"list", &pb.LeaseLeasesRequest{}}})
}

// playMaintenance asks the operator's questions with arguments good and bad.
func playMaintenance(s *stage) {
	revision := s.put("m/a", "1")
	s.put("m/a", "2")
	s.put("m/b", "2")
	s.sendAll([]request{
		{"status", &pb.StatusRequest{}},
		{"members", &pb.MemberListRequest{Linearizable: true}},
		{"members here", &pb.MemberListRequest{}},
		{"alarms", &pb.AlarmRequest{}},
		{"alarms of a kind", &pb.AlarmRequest{Alarm: pb.AlarmType_CORRUPT}},
		{"alarms of an unknown kind", &pb.AlarmRequest{Alarm: 77}},
		{"raise nothing", &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 3}},
		{"lower nothing", &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 3}},
		{"raise", &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 3, Alarm: pb.AlarmType_NOSPACE}},
		{"raise again", &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 3, Alarm: pb.AlarmType_NOSPACE}},
		{"put", &pb.PutRequest{Key: []byte("m/c")}},
		{"put without a key", &pb.PutRequest{}},
		{"txn that puts", then(putOp("m/c", ""))},
		{"txn that may put", either([]*pb.RequestOp{deleteOp("m/none", "")}, []*pb.RequestOp{putOp("m/c", "")})},
		{"txn that deletes", then(deleteOp("m/none", ""))},
		{"txn that reads", then(rangeOp(&pb.RangeRequest{Key: []byte("m/a")}))},
		{"grant", &pb.LeaseGrantRequest{ID: 5, TTL: 5}},
		{"revoke", &pb.LeaseRevokeRequest{ID: 5}},
		{"delete", &pb.DeleteRangeRequest{Key: []byte("m/none")}},
		{"get", &pb.RangeRequest{Key: []byte("m/a")}},
		{"compact", &pb.CompactionRequest{Revision: revision}},
		{"alarms while one is raised", &pb.AlarmRequest{}},
		{"lower by another member", &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 0, Alarm: pb.AlarmType_NOSPACE}},
		{"lower", &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 3, Alarm: pb.AlarmType_NOSPACE}},
		{"put", &pb.PutRequest{Key: []byte("m/c")}},
		{"corrupt", &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 0, Alarm: pb.AlarmType_CORRUPT}},
		{"put", &pb.PutRequest{Key: []byte("m/c")}},
		{"delete", &pb.DeleteRangeRequest{Key: []byte("m/c")}},
		{"txn that writes nothing", then(deleteOp("m/none", ""))},
		{"txn that reads", then(rangeOp(&pb.RangeRequest{Key: []byte("m/a")}))},
		{"empty txn", &pb.TxnRequest{}},
		{"grant", &pb.LeaseGrantRequest{ID: 5, TTL: 5}},
		{"revoke", &pb.LeaseRevokeRequest{ID: 5}},
		{"compact", &pb.CompactionRequest{Revision: revision + 1}},
		{"get", &pb.RangeRequest{Key: []byte("m/a")}},
		{"hash", &pb.HashKVRequest{}},
		{"not corrupt", &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 0, Alarm: pb.AlarmType_CORRUPT}},
		{"hash", &pb.HashKVRequest{}},
		{"hash of the compacted", &pb.HashKVRequest{Revision: 1}},
		{"hash of the future", &pb.HashKVRequest{Revision: 1 << 50}},
		{"hash at a revision", &pb.HashKVRequest{Revision: revision + 1}},
		{"compact", &pb.CompactionRequest{Revision: revision + 2, Physical: true}},
		{"hash", &pb.HashKVRequest{}},
		{"defragment", &pb.DefragmentRequest{}},
		{"hash", &pb.HashKVRequest{}},
		{"delete", &pb.DeleteRangeRequest{Key: []byte("m/"), RangeEnd: []byte("m0")}},
	})
	stream, err := pb.NewMaintenanceClient(s.client.ActiveConnection()).Snapshot(s.ctx, &pb.SnapshotRequest{})
	must(err)
	var last *pb.SnapshotResponse
	var size, left int64 = 0, -1
	for {
		part, err := stream.Recv()
		if err == io.EOF {
			break
		}
		must(err)
		if left >= 0 && int64(part.RemainingBytes)+int64(len(part.Blob)) != left && len(part.Blob) != 32 {
			s.say("a part leaves %d, but %d were left before its %d", part.RemainingBytes, left, len(part.Blob))
		}
		left = int64(part.RemainingBytes)
		size += int64(len(part.Blob))
		last = part
	}
	s.say("snapshot: last part %d bytes, left %d, version %q, header %v, all mod 512 = %d", len(last.Blob), last.RemainingBytes, last.Version, last.Header != nil, size%512)
}
