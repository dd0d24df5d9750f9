package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// playErrors asks for what cannot be and compares what comes with the client's own errors, as
// applications do with errors.Is.
func playErrors(s *stage) {
	names := []struct {
		name string
		err  error
	}{
		{"ErrEmptyKey", rpctypes.ErrEmptyKey}, {"ErrKeyNotFound", rpctypes.ErrKeyNotFound},
		{"ErrValueProvided", rpctypes.ErrValueProvided}, {"ErrLeaseProvided", rpctypes.ErrLeaseProvided},
		{"ErrTooManyOps", rpctypes.ErrTooManyOps}, {"ErrDuplicateKey", rpctypes.ErrDuplicateKey},
		{"ErrCompacted", rpctypes.ErrCompacted}, {"ErrFutureRev", rpctypes.ErrFutureRev},
		{"ErrLeaseNotFound", rpctypes.ErrLeaseNotFound}, {"ErrLeaseExist", rpctypes.ErrLeaseExist},
		{"ErrLeaseTTLTooLarge", rpctypes.ErrLeaseTTLTooLarge}, {"ErrRequestTooLarge", rpctypes.ErrRequestTooLarge},
		{"ErrInvalidSortOption", rpctypes.ErrInvalidSortOption}, {"ErrAuthNotEnabled", rpctypes.ErrAuthNotEnabled},
		{"ErrMemberNotFound", rpctypes.ErrMemberNotFound}, {"context.Canceled", context.Canceled},
		{"context.DeadlineExceeded", context.DeadlineExceeded},
	}
	check := func(what string, err error) {
		is := "nothing known"
		for _, known := range names {
			if errors.Is(err, known.err) {
				is = known.name
			}
		}
		s.say("%s: %s, is %s", what, failure(err), is)
	}
	_, err := s.client.Put(s.ctx, "", "x")
	check("put without a key", err)
	_, err = s.client.Get(s.ctx, "")
	check("get without a key", err)
	_, err = s.client.Delete(s.ctx, "")
	check("delete without a key", err)
	_, err = s.client.Put(s.ctx, "errors/none", "", clientv3.WithIgnoreValue())
	check("ignore the value of nothing", err)
	_, err = s.client.Put(s.ctx, "errors/none", "x", clientv3.WithIgnoreValue())
	check("ignore a value that is given", err)
	_, err = s.client.Put(s.ctx, "errors/none", "x", clientv3.WithLease(7), clientv3.WithIgnoreLease())
	check("ignore a lease that is given", err)
	_, err = s.client.Put(s.ctx, "errors/none", "x", clientv3.WithLease(0x7ead))
	check("unknown lease", err)
	_, err = s.client.Put(s.ctx, "errors/none", "x", clientv3.WithLease(-3))
	check("negative lease", err)
	_, err = s.client.Get(s.ctx, "errors/none", clientv3.WithRev(1<<50))
	check("future", err)
	_, err = s.client.Grant(s.ctx, 1<<50)
	check("too long a lease", err)
	_, err = s.client.Revoke(s.ctx, 12345)
	check("revoke nothing", err)
	_, err = s.client.KeepAliveOnce(s.ctx, 12345)
	check("keep nothing alive", err)
	_, err = s.client.Txn(s.ctx).Then(clientv3.OpPut("errors/d", ""), clientv3.OpPut("errors/d", "")).Commit()
	check("duplicate key", err)
	ops := make([]clientv3.Op, 129)
	for i := range ops {
		ops[i] = clientv3.OpGet("errors/g")
	}
	_, err = s.client.Txn(s.ctx).Then(ops...).Commit()
	check("too many operations", err)
	_, err = s.client.Put(s.ctx, "errors/large", strings.Repeat("x", 1_600_000))
	check("too large", err)
	_, err = s.client.Put(s.ctx, "errors/larger", strings.Repeat("x", 3_000_000))
	check("too large for the transport", err)
	canceled, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err = s.client.Get(canceled, "errors/none")
	check("canceled", err)
	late, cancel := context.WithDeadline(s.ctx, time.Now().Add(-time.Second))
	defer cancel()
	_, err = s.client.Get(late, "errors/none")
	check("too late", err)
	for _, endpoint := range []string{s.endpoint} {
		status, err := s.client.Status(s.ctx, endpoint)
		must(err)
		s.say("status: version=%s leader is the member=%v learner=%v errors=%q quota=%d storage=%s", status.Version,
			status.Leader == status.Header.MemberId, status.IsLearner, status.Errors, status.DbSizeQuota, status.StorageVersion)
	}
}
