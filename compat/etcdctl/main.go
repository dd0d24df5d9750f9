// Command etcdctl is the published etcd command line client, unchanged: it drives both servers.
package main

import "go.etcd.io/etcd/etcdctl/v3/ctlv3"

func main() {
	ctlv3.MustStart()
}
