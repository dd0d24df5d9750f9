// Command clientcheck is a user of etcd's Go client: it does what applications do and writes down
// what it sees. Played against two servers that behave alike, it writes the same lines twice.
//
//	clientcheck -endpoint 127.0.0.1:2379 kv watch        these scenes, in this order
//	clientcheck -list                                    their names
//
// A line that begins with "@" is for whoever runs it, and waits for a line on standard input:
//
//	@restart     stop the server cleanly, start it again on the same data and the same port
//	@kill        the same, without asking the server
//	@end         all scenes are played; nobody waits any more
//
// What two servers may differ in is never printed: ids and times that a server picks, raft's term,
// how many pieces a stream came in. Everything else is: every field of every answer.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// A scene is a story with one client.
type scene struct {
	name string
	play func(*stage)
}

var scenes = []scene{
	{"kv", playKV},
	{"txn", playTxn},
	{"stream", playStream},
	{"watch", playWatch},
	{"fragments", playFragments},
	{"compaction", playCompaction},
	{"lease", playLease},
	{"errors", playErrors},
	{"recipes", playRecipes},
	{"layers", playLayers},
	{"naming", playNaming},
	{"requests", playRequests},
	{"watches", playWatches},
	{"leases", playLeaseRequests},
	{"maintenance", playMaintenance},
	{"sizes", playSizes},
	{"wire", playWire},
	{"streams", playStreams},
	{"restart", playRestart},
	{"pressure", playPressure},
}

// patience is how long anything may take before it is given up.
const patience = 30 * time.Second

// stage is what a scene works with.
type stage struct {
	endpoint string
	client   *clientv3.Client
	ctx      context.Context
	// pid is the server's process, 0 if nobody said.
	pid int
}

func (s *stage) say(format string, values ...any) {
	fmt.Printf(format+"\n", values...)
}

// ask has the runner do something to the server and waits until it is done.
func (s *stage) ask(what string) {
	fmt.Println("@" + what)
	if !answers.Scan() {
		fatal("nobody answers @%s", what)
	}
}

var answers = bufio.NewScanner(os.Stdin)

// stderr takes what is measured: it differs from run to run and is no part of the transcript.
var stderr = os.Stderr

func (s *stage) connect() *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{s.endpoint},
		DialTimeout: patience,
		Logger:      zap.NewNop(),
		// Above what a server may send, so that a limit met here is the server's.
		MaxCallSendMsgSize: 64 << 20,
	})
	must(err)
	return client
}

func main() {
	endpoint := flag.String("endpoint", "127.0.0.1:2379", "host:port of the server")
	pid := flag.Int("pid", 0, "process of the server, for its memory")
	list := flag.Bool("list", false, "print the names of the scenes")
	flag.Parse()
	if *list {
		for _, scene := range scenes {
			fmt.Println(scene.name)
		}
		return
	}
	for _, name := range flag.Args() {
		play(name, *endpoint, *pid)
	}
	fmt.Println("@end")
}

func play(name, endpoint string, pid int) {
	for _, scene := range scenes {
		if scene.name != name {
			continue
		}
		// Three times the patience: what waits inside a scene gives up first and says where.
		ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
		defer cancel()
		s := &stage{endpoint: endpoint, ctx: ctx, pid: pid}
		s.client = s.connect()
		defer s.client.Close()
		s.say("## %s", name)
		scene.play(s)
		return
	}
	fatal("no scene is called %q", name)
}

func fatal(format string, values ...any) {
	fmt.Printf("FATAL "+format+"\n", values...)
	os.Exit(1)
}

func must(err error) {
	if err != nil {
		fatal("%v", err)
	}
}
