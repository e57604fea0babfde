// What the bench of relays needs to put Tailscale's beside ours: a control server for two of its daemons, from its own tests, and two of its
// relay clients that send packets to one another with no tunnel in between. Everything is Tailscale's but the arguments.
//
//	derp-peer control LISTEN URL DERP-ADDRESS DERP-PORT
//	derp-peer load DERP-ADDRESS DERP-PORT PAYLOAD-BYTES SECONDS     one line of JSON: {"packets":N,"seconds":S,"total":N}
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

const (
	warmUp  = 500 * time.Millisecond
	connect = 10 * time.Second
)

func usage() {
	fmt.Fprintln(os.Stderr, "usage: derp-peer control LISTEN URL DERP-ADDRESS DERP-PORT | derp-peer load DERP-ADDRESS DERP-PORT PAYLOAD-BYTES SECONDS")
	os.Exit(2)
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		usage()
	}
	return value
}

func main() {
	log.SetFlags(0)
	switch {
	case len(os.Args) == 6 && os.Args[1] == "control":
		control(os.Args[2], os.Args[3], os.Args[4], number(os.Args[5]))
	case len(os.Args) == 6 && os.Args[1] == "load":
		load(os.Args[2], number(os.Args[3]), number(os.Args[4]), time.Duration(number(os.Args[5]))*time.Second)
	default:
		usage()
	}
}

func region(address string, port int) *tailcfg.DERPRegion {
	return &tailcfg.DERPRegion{
		RegionID:   1,
		RegionCode: "bench",
		Nodes: []*tailcfg.DERPNode{{
			Name:             "bench",
			RegionID:         1,
			HostName:         address,
			IPv4:             address,
			IPv6:             "none",
			DERPPort:         port,
			InsecureForTests: true,
		}},
	}
}

func control(listen, url, derpAddress string, derpPort int) {
	server := &testcontrol.Server{
		Logf:             logger.Discard,
		ExplicitBaseURL:  url,
		AllNodesSameUser: true,
		DERPMap:          &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{1: region(derpAddress, derpPort)}},
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	log.Fatal(http.Serve(listener, server))
}

func client(address string, port int) (*derphttp.Client, key.NodePublic) {
	private := key.NewNode()
	made := derphttp.NewRegionClient(private, logger.Discard, netmon.NewStatic(), func() *tailcfg.DERPRegion {
		return region(address, port)
	})
	limit, cancel := context.WithTimeout(context.Background(), connect)
	defer cancel()
	if err := made.Connect(limit); err != nil {
		log.Fatalf("cannot connect to the relay: %v", err)
	}
	return made, private.Public()
}

// load sends from one client to another as fast as the relay takes it, and counts what arrives. The total has what came before and after the
// seconds, too: all that the relay has worked for.
func load(address string, port, payload int, duration time.Duration) {
	from, _ := client(address, port)
	to, toKey := client(address, port)
	var packets atomic.Int64
	go func() {
		for {
			message, err := to.Recv()
			if err != nil {
				log.Fatalf("the receiver: %v", err)
			}
			if _, ok := message.(derp.ReceivedPacket); ok {
				packets.Add(1)
			}
		}
	}()
	go func() {
		for {
			if _, err := from.Recv(); err != nil {
				log.Fatalf("the sender: %v", err)
			}
		}
	}()
	packet := make([]byte, payload)
	go func() {
		for {
			if err := from.Send(toKey, packet); err != nil {
				log.Fatalf("sending: %v", err)
			}
		}
	}()
	time.Sleep(warmUp)
	before, begin := packets.Load(), time.Now()
	time.Sleep(duration)
	counted, seconds := packets.Load()-before, time.Since(begin).Seconds()
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"packets": counted, "seconds": seconds, "total": packets.Load()}); err != nil {
		log.Fatal(err)
	}
	os.Exit(0)
}
