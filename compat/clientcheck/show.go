package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// shortMax is the length up to which bytes are printed as they are.
const shortMax = 64

// masked are the fields in which two members of equal behaviour differ.
var masked = map[protoreflect.Name]bool{
	"raft_term": true, "raftTerm": true, "raftIndex": true, "raftAppliedIndex": true,
	"dbSize": true, "dbSizeInUse": true,
}

// show prints every field of a message on one line, but for those that may differ.
func show(message proto.Message) string {
	if message == nil || !message.ProtoReflect().IsValid() {
		return "nothing"
	}
	copied := proto.Clone(message)
	prune(copied.ProtoReflect())
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(copied)
	if err != nil {
		return "unprintable: " + err.Error()
	}
	var compact bytes.Buffer
	must(json.Compact(&compact, text))
	return compact.String()
}

func prune(message protoreflect.Message) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case masked[field.Name()]:
			message.Clear(field)
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				prune(value.List().Get(i).Message())
			}
		case field.IsMap():
		case field.Message() != nil:
			prune(value.Message())
		case field.Kind() == protoreflect.BytesKind && !field.IsList():
			// Bytes as text read better than base64, and long ones better as a sum.
			message.Set(field, protoreflect.ValueOfBytes([]byte(short(value.Bytes()))))
		}
		return true
	})
}

func short(value []byte) string {
	if len(value) > shortMax {
		return fmt.Sprintf("(%d bytes, crc %08x)", len(value), crc32.ChecksumIEEE(value))
	}
	return string(value)
}

// failure prints an error as its code and text.
func failure(err error) string {
	if err == nil {
		return "ok"
	}
	var etcd rpctypes.EtcdError
	if errors.As(err, &etcd) {
		return fmt.Sprintf("etcd error %v %q", etcd.Code(), etcd.Error())
	}
	if status, ok := status.FromError(err); ok {
		text := status.Message()
		if strings.Contains(text, "connect") {
			text = "about the connection"
		}
		return fmt.Sprintf("status %v %q", status.Code(), text)
	}
	return fmt.Sprintf("error %q", err.Error())
}

// answer prints what a call gave.
func answer(message proto.Message, err error) string {
	if err != nil {
		return failure(err)
	}
	return show(message)
}
