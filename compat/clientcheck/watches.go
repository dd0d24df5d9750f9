package main

import (
	"context"
	"fmt"
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A watchStream is a raw stream of watches whose answers are collected in the background.
type watchStream struct {
	stage   *stage
	stream  pb.Watch_WatchClient
	answers chan *pb.WatchResponse
	end     chan error
	cancel  context.CancelFunc
}

func (s *stage) openWatches() *watchStream {
	ctx, cancel := context.WithCancel(s.ctx)
	stream, err := pb.NewWatchClient(s.client.ActiveConnection()).Watch(ctx)
	must(err)
	w := &watchStream{s, stream, make(chan *pb.WatchResponse, 1000), make(chan error, 1), cancel}
	go func() {
		for {
			response, err := stream.Recv()
			if err != nil {
				w.end <- err
				return
			}
			w.answers <- response
		}
	}()
	return w
}

func (w *watchStream) create(request *pb.WatchCreateRequest) {
	must(w.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: request}}))
}

func (w *watchStream) drop(id int64) {
	must(w.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}}))
}

func (w *watchStream) progress() {
	must(w.stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}))
}

// read prints the next answers.
func (w *watchStream) read(what string, count int) {
	for range count {
		select {
		case response := <-w.answers:
			w.stage.say("%s: %s", what, show(response))
		case err := <-w.end:
			w.stage.say("%s: ended %s", what, failure(err))
			return
		case <-time.After(patience):
			fatal("%s: no answer", what)
		}
	}
}

// silent creates and drops a watcher of its own: if its answers come next, nothing came before.
func (w *watchStream) silent(what string, id int64) {
	w.create(&pb.WatchCreateRequest{Key: []byte("nobody"), WatchId: id})
	w.drop(id)
	w.read(what+", then silence", 2)
}

// playWatches speaks the watch protocol itself.
func playWatches(s *stage) {
	bytes := func(text string) []byte { return []byte(text) }
	w := s.openWatches()
	w.progress()
	w.silent("progress without watchers", 900)
	w.drop(4711)
	w.silent("drop what is not there", 900)
	must(w.stream.Send(&pb.WatchRequest{}))
	w.silent("an empty request", 900)
	for _, create := range []*pb.WatchCreateRequest{
		{},
		{Key: bytes("w/a")},
		{Key: bytes("w/a"), RangeEnd: bytes("w/a")},
		{Key: bytes("w/b"), RangeEnd: bytes("w/a")},
		{Key: bytes("w/b"), RangeEnd: bytes("\x00")},
		{Key: bytes("w/b"), RangeEnd: bytes("\x00\x00")},
		{RangeEnd: bytes("w/a")},
		{Key: bytes("w/a"), WatchId: 7},
		{Key: bytes("w/a"), WatchId: 7},
		{Key: bytes("w/a"), WatchId: 1},
		{Key: bytes("w/a"), WatchId: -5},
		{Key: bytes("w/a"), WatchId: -5},
		{Key: bytes("w/a"), WatchId: -1},
		{Key: bytes("w/a"), WatchId: math.MinInt64},
		{Key: bytes("w/a"), WatchId: math.MaxInt64},
		{Key: bytes("w/a"), StartRevision: -1},
		{Key: bytes("w/a"), StartRevision: math.MinInt64},
		{Key: bytes("w/a"), StartRevision: math.MaxInt64},
		{Key: bytes("w/a"), StartRevision: -1, WatchId: 7},
		{Key: bytes("w/z"), RangeEnd: bytes("w/a"), WatchId: 7},
		{Key: bytes("w/a"), Filters: []pb.WatchCreateRequest_FilterType{0, 1, 1, 0}},
		{Key: bytes("w/a"), Filters: []pb.WatchCreateRequest_FilterType{17, -1}},
		{Key: bytes("w/a"), Fragment: true, PrevKv: true, ProgressNotify: true},
	} {
		w.create(create)
		w.read(fmt.Sprintf("create %s", show(create)), 1)
	}
	for _, id := range []int64{0, 1, 2, 3, 4, 5, 7, -5, -1, 8, 9, 10, math.MinInt64, math.MaxInt64} {
		w.drop(id)
	}
	// Which of those were there is seen by what is acknowledged.
	w.silent("drop all", 900)
	for range 11 {
		select {
		case response := <-w.answers:
			s.say("drop all: %s", show(response))
		case <-time.After(time.Second):
		}
	}
	must(w.stream.CloseSend())
	w.cancel()
	s.say("canceled: %s", failure(<-w.end))

	w = s.openWatches()
	w.create(&pb.WatchCreateRequest{Key: bytes("w/"), RangeEnd: bytes("w0"), PrevKv: true})
	w.read("create", 1)
	w.progress()
	w.read("progress", 1)
	base := s.put("w/1", "1")
	w.read("event", 1)
	_, err := s.send(then(putOp("w/2", "2"), deleteOp("w/1", ""), putOp("w/3", "3")))
	must(err)
	w.read("events", 1)
	w.progress()
	w.read("progress after events", 1)
	w.create(&pb.WatchCreateRequest{Key: bytes("w/1"), StartRevision: base})
	w.read("create in the past", 2)
	w.create(&pb.WatchCreateRequest{Key: bytes("w/1"), StartRevision: base + 50})
	w.read("create in the future", 1)
	w.progress()
	w.silent("progress with one in the future", 901)
	w.drop(2)
	w.read("drop the future", 1)
	w.progress()
	w.read("progress without it", 1)
	// The client has said its last word; events go on.
	must(w.stream.CloseSend())
	s.put("w/9", "after the half close")
	w.read("after the half close", 1)
	w.cancel()
	s.say("canceled: %s", failure(<-w.end))

	// A watcher that a compaction overtook keeps its id until the client drops it.
	_, err = s.send(&pb.CompactionRequest{Revision: base + 1})
	must(err)
	w = s.openWatches()
	w.create(&pb.WatchCreateRequest{Key: bytes("w/1"), StartRevision: base, WatchId: 5})
	w.read("compacted", 2)
	w.create(&pb.WatchCreateRequest{Key: bytes("w/1"), WatchId: 5})
	w.read("its id again", 1)
	w.progress()
	w.silent("progress beside it", 901)
	w.drop(5)
	w.read("drop it", 1)
	w.create(&pb.WatchCreateRequest{Key: bytes("w/1"), WatchId: 5, StartRevision: base + 1, PrevKv: true})
	w.read("its id at last", 2)
	w.cancel()
	s.say("canceled: %s", failure(<-w.end))
	_, err = s.send(&pb.DeleteRangeRequest{Key: bytes("w/"), RangeEnd: bytes("w0")})
	must(err)
}
