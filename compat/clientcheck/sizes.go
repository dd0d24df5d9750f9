package main

import (
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// The default limit of a request, and what the transport takes beyond it.
const (
	requestMax  = 1_572_864
	messageMax  = requestMax + 512<<10
	headerBytes = 64
)

// playSizes goes to the limits of what a request may weigh.
func playSizes(s *stage) {
	kv := pb.NewKVClient(s.client.ActiveConnection())
	put := func(what string, key, value int) {
		request := &pb.PutRequest{Key: []byte("size/" + strings.Repeat("k", key)), Value: []byte(strings.Repeat("v", value))}
		response, err := kv.Put(s.ctx, request, grpc.MaxCallSendMsgSize(64<<20))
		s.say("put %s: %s", what, answer(response, err))
		if err != nil {
			return
		}
		read, err := kv.Range(s.ctx, &pb.RangeRequest{Key: request.Key}, grpc.MaxCallRecvMsgSize(64<<20))
		s.say("get %s: %s", what, answer(read, err))
		_, err = kv.DeleteRange(s.ctx, &pb.DeleteRangeRequest{Key: request.Key})
		must(err)
	}
	put("64 KiB key", 64<<10, 10)
	put("1 MiB key", 1<<20, 10)
	put("1 MiB value", 0, 1<<20)
	put("just below the request limit", 0, requestMax-headerBytes-20)
	put("just above the request limit", 0, requestMax)
	put("2 MB", 0, 2_000_000)
	// To the byte: a message as large as the transport takes, and one byte more.
	frame := proto.Size(&pb.PutRequest{Key: []byte("size/"), Value: []byte(strings.Repeat("v", messageMax-20))}) - (messageMax - 20)
	put("as large as the transport takes", 0, messageMax-frame)
	put("one byte more", 0, messageMax-frame+1)
	put("20 MB", 0, 20_000_000)
	get := &pb.RangeRequest{Key: []byte(strings.Repeat("k", requestMax+100_000))}
	response, err := kv.Range(s.ctx, get, grpc.MaxCallSendMsgSize(64<<20))
	s.say("get with a key above the request limit: %s", answer(response, err))
	get = &pb.RangeRequest{Key: []byte(strings.Repeat("k", messageMax))}
	response, err = kv.Range(s.ctx, get, grpc.MaxCallSendMsgSize(64<<20))
	s.say("get with a key above the transport's: %s", answer(response, err))
	deleted, err := kv.DeleteRange(s.ctx, &pb.DeleteRangeRequest{Key: []byte(strings.Repeat("k", requestMax+100_000))}, grpc.MaxCallSendMsgSize(64<<20))
	s.say("delete with a key above the request limit: %s", answer(deleted, err))
	txn := func(what string, count, value int) {
		ops := repeat(count, func(i int) *pb.RequestOp { return putOp(fmt.Sprintf("size/%03d", i), strings.Repeat("t", value)) })
		response, err := kv.Txn(s.ctx, then(ops...), grpc.MaxCallSendMsgSize(64<<20))
		s.say("txn %s: %s", what, answer(response, err))
	}
	txn("128 puts of 10 KB", 128, 10_000)
	txn("128 puts of 12 KB", 128, 12_000)
	txn("128 puts of 13 KB", 128, 13_000)
	txn("128 puts of 17 KB", 128, 17_000)
	reading := then(repeat(100, func(int) *pb.RequestOp {
		return rangeOp(&pb.RangeRequest{Key: []byte("size/" + strings.Repeat("k", 17_000))})
	})...)
	read, err := kv.Txn(s.ctx, reading, grpc.MaxCallSendMsgSize(64<<20))
	s.say("reading txn above the request limit: %s", failure(err))
	_ = read
	whole, err := s.client.Get(s.ctx, "size/", clientv3.WithPrefix())
	must(err)
	s.say("all: %s", show((*pb.RangeResponse)(whole)))
	_, err = s.client.Delete(s.ctx, "size/", clientv3.WithPrefix())
	must(err)
	// An answer may be larger than any request.
	for i := range 8 {
		s.put(fmt.Sprintf("size/%d", i), strings.Repeat("a", 1_000_000))
	}
	whole, err = s.client.Get(s.ctx, "size/", clientv3.WithPrefix())
	must(err)
	s.say("8 MB: %s", show((*pb.RangeResponse)(whole)))
	_, err = kv.Range(s.ctx, &pb.RangeRequest{Key: []byte("size/"), RangeEnd: []byte("size0")})
	s.say("8 MB for a client that takes 4: %s", failure(err))
	_, err = s.client.Delete(s.ctx, "size/", clientv3.WithPrefix())
	must(err)
	s.threshold(kv)
}

// threshold finds the largest value that is taken. The size of what etcd puts into its log depends
// on a number that it draws, so this is only measured.
func (s *stage) threshold(kv pb.KVClient) {
	low, high := requestMax-200, requestMax+200
	for low+1 < high {
		middle := (low + high) / 2
		_, err := kv.Put(s.ctx, &pb.PutRequest{Key: []byte("size/"), Value: make([]byte, middle)}, grpc.MaxCallSendMsgSize(64<<20))
		if err == nil {
			low = middle
		} else {
			high = middle
		}
	}
	fmt.Fprintf(stderr, "MEASURED the largest value taken with a key of 5 bytes: %d below the request limit\n", requestMax-low)
}
