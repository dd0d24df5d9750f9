package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// playWire sends what a gRPC library would not: wrong headers, wrong frames, wrong paths.
//
// Left out is where the two servers are known to differ and no client can care: how a request that
// ends inside its frame is refused, what a subtype of the content type, a query behind the path or a
// deadline that the client does not keep itself are answered with.
func playWire(s *stage) {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 3 * time.Second}

	get := frame(0, encode(&pb.RangeRequest{Key: []byte("wire")}))
	call := func(what, path string, body []byte, headers ...string) {
		request, err := http.NewRequestWithContext(s.ctx, http.MethodPost, "http://"+s.endpoint+path, bytes.NewReader(body))
		must(err)
		request.Header.Set("content-type", "application/grpc")
		request.Header.Set("te", "trailers")
		for i := 0; i < len(headers); i += 2 {
			if headers[i] == ":method" {
				request.Method = headers[i+1]
				continue
			}
			request.Header.Del(headers[i])
			if headers[i+1] != "" {
				request.Header[http.CanonicalHeaderKey(headers[i])] = []string{headers[i+1]}
			}
		}
		response, err := client.Do(request)
		if err != nil {
			s.say("%s: the stream was reset %v", what, err)
			return
		}
		defer response.Body.Close()
		content, err := io.ReadAll(response.Body)
		code, text := response.Trailer.Get("grpc-status"), response.Trailer.Get("grpc-message")
		if code == "" {
			code, text = response.Header.Get("grpc-status"), response.Header.Get("grpc-message")
		}
		if plain, err := url.PathUnescape(text); err == nil {
			text = plain
		}
		if code == "13" && (strings.Contains(text, "unmarshal") || strings.Contains(text, "decode Protobuf")) {
			text = "about the message"
		}
		s.say("%s: http %d type %q grpc %q %q, %d bytes, whole: %v", what, response.StatusCode, response.Header.Get("content-type"), code, text, len(content), err == nil)
	}
	const path = "/etcdserverpb.KV/Range"
	call("as it should be", path, get)
	call("no te", path, get, "te", "")
	call("an unknown service", "/no.Such/Range", get)
	call("an unknown method", "/etcdserverpb.KV/NoSuch", get)
	call("an unknown method of a streaming service", "/etcdserverpb.Watch/NoSuch", get)
	call("the lower case", "/etcdserverpb.kv/range", get)
	call("no method", "/etcdserverpb.KV", get)
	call("no method but a slash", "/etcdserverpb.KV/", get)
	call("no service", "//Range", get)
	call("a deep path", "/a/b/c", get)
	call("nothing", "/", get)
	call("GET", path, nil, ":method", "GET")
	call("PUT", path, get, ":method", "PUT")
	call("two messages", path, append(append([]byte{}, get...), get...))
	call("a frame that says it is large", path, []byte{0, 0xff, 0xff, 0xff, 0xff})
	call("an unknown compression", path, get, "grpc-encoding", "brotli")
	call("identity", path, get, "grpc-encoding", "identity")
	call("an empty message", path, frame(0, nil))
	call("garbage", path, frame(0, []byte{0xff, 0xff, 0xff}))
	call("an open group", path, frame(0, []byte{0x0b}))
	call("a cut field", path, frame(0, []byte{0x0a, 0x7f, 'x'}))
	call("field number 0", path, frame(0, []byte{0x02, 0x00}))
	call("an unknown field", path, frame(0, append(encode(&pb.RangeRequest{Key: []byte("wire")}), 0xfa, 0x7f, 0x01, 'x')))
	call("the key twice", path, frame(0, []byte{0x0a, 1, 'a', 0x0a, 1, 'b'}))
	call("an overlong varint", path, frame(0, []byte{0x0a, 1, 'a', 0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}))
	call("a lease name that is no text", "/etcdserverpb.Maintenance/Downgrade", frame(0, []byte{0x12, 1, 0xff}))
	call("a long time", path, get, "grpc-timeout", "99999999H")
	call("client version", path, get, "client-api-version", "3.7.3")
	call("client version that is no text", path, get, "client-api-version", "\xff\xfe")
	call("client version from the future", path, get, "client-api-version", "99")
	call("a stream's client version that is no text", "/etcdserverpb.Watch/Watch", nil, "client-api-version", "\xff")
	call("a leader is wanted", path, get, "hasleader", "true")
	call("a leader is wanted oddly", path, get, "hasleader", "TRUE")
	call("a token while there are no users", path, get, "token", "nonsense.1")
	call("a large header", path, get, "x-large", strings.Repeat("h", 9_000))
	call("health", "/grpc.health.v1.Health/Check", frame(0, nil))
	call("health of a service", "/grpc.health.v1.Health/Check", frame(0, append([]byte{0x0a, 4}, "nope"...)))
	call("health of KV", "/grpc.health.v1.Health/Check", frame(0, append([]byte{0x0a, 15}, "etcdserverpb.KV"...)))
	call("health, unknown method", "/grpc.health.v1.Health/Nope", frame(0, nil))
	call("garbage in a stream", "/etcdserverpb.Lease/LeaseKeepAlive", frame(0, []byte{0xff, 0xff}))
	call("garbage in a watch", "/etcdserverpb.Watch/Watch", frame(0, []byte{0xff, 0xff}))
	call("a large message in a watch", "/etcdserverpb.Watch/Watch", []byte{0, 0x7f, 0xff, 0xff, 0xff})

	kv := pb.NewKVClient(s.client.ActiveConnection())
	response, err := kv.Range(s.ctx, &pb.RangeRequest{Key: []byte("wire")}, grpc.UseCompressor(gzip.Name))
	s.say("gzip: %s", answer(response, err))
	put, err := kv.Put(s.ctx, &pb.PutRequest{Key: []byte("wire"), Value: make([]byte, 1_000_000)}, grpc.UseCompressor(gzip.Name))
	s.say("gzip of much: %s", answer(put, err))
	_, err = kv.Put(s.ctx, &pb.PutRequest{Key: []byte("wire"), Value: make([]byte, 40_000_000)}, grpc.UseCompressor(gzip.Name), grpc.MaxCallSendMsgSize(64<<20))
	s.say("gzip of too much: %s", failure(err))
	stream, err := pb.NewWatchClient(s.client.ActiveConnection()).Watch(s.ctx, grpc.UseCompressor(gzip.Name))
	must(err)
	must(stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("wire")}}}))
	created, err := stream.Recv()
	s.say("gzip in a watch: %s", answer(created, err))
	ctx := metadata.AppendToOutgoingContext(s.ctx, "hasleader", "true", "hasleader", "false")
	response, err = kv.Range(ctx, &pb.RangeRequest{Key: []byte("wire")})
	s.say("two wishes for a leader: %s", answer(response, err))
	short, cancel := context.WithTimeout(s.ctx, time.Nanosecond)
	defer cancel()
	_, err = kv.Range(short, &pb.RangeRequest{Key: []byte("wire")})
	s.say("no time: %s", failure(err))
	s.http11()
}

// http11 asks over plain HTTP/1.1.
func (s *stage) http11() {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, ask := range []struct{ method, path string }{
		{"GET", "/version"}, {"HEAD", "/version"}, {"POST", "/version"}, {"GET", "/version/"},
		{"GET", "/health"}, {"HEAD", "/health"}, {"POST", "/health"}, {"GET", "/health?serializable=true"},
		{"GET", "/health?exclude=NOSPACE"}, {"GET", "/health?exclude=nonsense"}, {"GET", "/health/"},
		{"GET", "/livez"}, {"GET", "/livez?verbose"}, {"GET", "/livez?exclude=serializable_read"}, {"GET", "/livez?verbose&exclude=serializable_read"},
		{"GET", "/livez/serializable_read"}, {"GET", "/livez/nonsense"}, {"GET", "/livez/"}, {"POST", "/livez"}, {"HEAD", "/livez"},
		{"GET", "/readyz"}, {"GET", "/readyz?verbose=1"}, {"GET", "/readyz?exclude=nonsense"}, {"GET", "/readyz/linearizable_read"},
		{"GET", "/readyz/data_corruption"}, {"GET", "/readyz/non_learner"}, {"GET", "/readyz/data_corruption?verbose"}, {"PUT", "/readyz"},
		{"GET", "/nonsense"}, {"GET", "/"}, {"POST", "/etcdserverpb.KV/Range"},
	} {
		request, err := http.NewRequestWithContext(s.ctx, ask.method, "http://"+s.endpoint+ask.path, nil)
		must(err)
		response, err := client.Do(request)
		if err != nil {
			s.say("%s %s: %v", ask.method, ask.path, err)
			continue
		}
		body, err := io.ReadAll(response.Body)
		must(err)
		response.Body.Close()
		text := string(body)
		if strings.Contains(text, "\n[") || strings.HasPrefix(text, "[") {
			text = sortedLines(text)
		}
		s.say("%s %s: %d type %q allow %q %q", ask.method, ask.path, response.StatusCode, response.Header.Get("content-type"), response.Header.Get("allow"), text)
	}
	// No host at all, and bytes that are no protocol.
	for _, hello := range []string{"GET /version HTTP/1.1\r\n\r\n", "GET /version HTTP/1.0\r\n\r\n", "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"} {
		connection, err := net.DialTimeout("tcp", s.endpoint, patience)
		must(err)
		must(connection.SetDeadline(time.Now().Add(patience)))
		_, err = connection.Write([]byte(hello))
		must(err)
		// What does not end with the connection ends with its first line.
		answered := make([]byte, 16)
		n, _ := io.ReadFull(connection, answered[:12])
		first := string(answered[:n])
		if !strings.HasPrefix(first, "HTTP/") {
			first = "no HTTP"
		}
		s.say("raw %q: %q", hello, first)
		connection.Close()
	}
}

func sortedLines(text string) string {
	lines := strings.Split(text, "\n")
	// Few lines: the simplest sort will do.
	for i := range lines {
		for j := i + 1; j < len(lines); j++ {
			if lines[j] < lines[i] {
				lines[i], lines[j] = lines[j], lines[i]
			}
		}
	}
	return strings.Join(lines, "\n")
}

func encode(message proto.Message) []byte {
	encoded, err := proto.Marshal(message)
	must(err)
	return encoded
}

// frame puts a message into gRPC's frame.
func frame(flag byte, message []byte) []byte {
	header := make([]byte, 5)
	header[0] = flag
	binary.BigEndian.PutUint32(header[1:], uint32(len(message)))
	return append(header, message...)
}
