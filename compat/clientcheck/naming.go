package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// playNaming keeps the addresses of a service in the store and has gRPC find them there.
func playNaming(s *stage) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	manager, err := endpoints.NewManager(s.client, "service")
	must(err)
	updates, err := manager.NewWatchChannel(ctx)
	must(err)
	tell := func(count int) {
		var lines []string
		for len(lines) < count {
			select {
			case batch := <-updates:
				for _, update := range batch {
					// An update without an address takes the endpoint away.
					lines = append(lines, fmt.Sprintf("%v %s %q %v", update.Op, update.Key, update.Endpoint.Addr, update.Endpoint.Metadata))
				}
			case <-time.After(patience):
				fatal("the endpoints are silent")
			}
		}
		slices.Sort(lines)
		for _, line := range lines {
			s.say("update: %s", line)
		}
	}
	list := func() {
		all, err := manager.List(s.ctx)
		must(err)
		var lines []string
		for key, endpoint := range all {
			lines = append(lines, fmt.Sprintf("%s %s %v", key, endpoint.Addr, endpoint.Metadata))
		}
		slices.Sort(lines)
		s.say("listed: %q", lines)
	}

	// The server itself stands for the service: its health is asked by name.
	lease, err := s.client.Grant(s.ctx, 60)
	must(err)
	must(manager.AddEndpoint(s.ctx, "service/here", endpoints.Endpoint{Addr: s.endpoint, Metadata: "first"},
		clientv3.WithLease(lease.ID)))
	tell(1)
	list()
	builder, err := resolver.NewBuilder(s.client)
	must(err)
	connection, err := grpc.NewClient("etcd:///service", grpc.WithResolvers(builder),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	defer connection.Close()
	health, err := grpc_health_v1.NewHealthClient(connection).
		Check(s.ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
	must(err)
	s.say("health by name: %v", health.Status)

	must(manager.Update(s.ctx, []*endpoints.UpdateWithOpts{
		endpoints.NewAddUpdateOpts("service/one", endpoints.Endpoint{Addr: "127.0.0.1:1"}),
		endpoints.NewAddUpdateOpts("service/two", endpoints.Endpoint{Addr: "127.0.0.1:2", Metadata: map[string]int{"weight": 3}}),
	}))
	tell(2)
	must(manager.DeleteEndpoint(s.ctx, "service/one"))
	tell(1)
	list()
	s.say("outside of the service: %v", manager.AddEndpoint(s.ctx, "other/one", endpoints.Endpoint{Addr: "x"}) != nil)
	// A service that stops renewing its lease is no longer found.
	_, err = s.client.Revoke(s.ctx, lease.ID)
	must(err)
	tell(1)
	list()
	must(manager.DeleteEndpoint(s.ctx, "service/two"))
	tell(1)
}
