// What the network may do to us and what we owe it: cookies in both directions, roaming, sticky sources, silence, the link
// (paper §2.1, §5.3, §5.4.7, §6.6; checklist 28–39), beside load-and-roaming.test.ts.

import { describe, expect, test, vi } from 'vitest';
import { fromHex, writeU32le } from '../../../src/base/bytes.ts';
import { NEVER } from '../../../src/base/instant.ts';
import type { Endpoint } from '../../../src/base/ip.ts';
import { nodeProvider } from '../../../src/crypto/node.ts';
import { DescriptorKind, LinkChange, NO_PEER, RecordField } from '../../../src/dataplane/dataplane.ts';
import type { Host } from '../../../src/sim/host.ts';
import { mac1Key } from '../../../src/wireguard/cookie.ts';
import { connectedPair, Fixture, type Pair, pair, stateOf } from '../../lib/pair.ts';

const ELSEWHERE = '203.0.113.77:4242' as Endpoint;

/** An initiation to `host` with a good mac1 and nothing else that is good. */
function forgedInitiation(host: Host, sender: number): Uint8Array {
  const message = new Uint8Array(148);
  message[0] = 1;
  writeU32le(message, 4, sender);
  const key = mac1Key(nodeProvider, fromHex(host.publicKeyHex) ?? new Uint8Array());
  message.set(nodeProvider.mac(key, message.subarray(0, 116)), 116);
  return message;
}

/** As much of it, from as many addresses, as puts the host under load for a second. */
function putUnderLoad(host: Host): void {
  for (let i = 0; i < host.plane.slabSlots / 4; i++) {
    const source = `198.18.${i >> 8}.${i & 255}:1000` as Endpoint;
    host.plane.io.udpInput(forgedInitiation(host, i), source, host.endpoint);
  }
  host.run();
}

function mac2Of(message: Uint8Array): string {
  return message.subarray(message.length - 16).join();
}

const NO_MAC2 = new Uint8Array(16).join();

/** Local addresses that the host's plane sent from, message by message. */
function sourcesOf(host: Host): (Endpoint | null)[] {
  const sources: (Endpoint | null)[] = [];
  const { io } = host.plane;
  const take = io.takeUdpOutput.bind(io);
  vi.spyOn(io, 'takeUdpOutput').mockImplementation(() => {
    const sent = take();
    sources.push(...sent.map(({ source }) => source));
    return sent;
  });
  return sources;
}

describe('a cookie', () => {
  test('is given for a response too, and the next response carries mac2', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.world.run(19);
    putUnderLoad(p.alice);
    p.world.run(500);
    // Alice asked for mac2; Bob keeps the cookie and sends nothing because of it.
    expect(p.alice.engine.counters.reached.responsesAccepted).toBe(0);
    expect(p.bob.engine.counters.reached.cookiesAccepted).toBe(1);
    expect(p.count('bob', 'response')).toBe(1);
    p.world.run(4_000);
    putUnderLoad(p.alice);
    p.world.run(900);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([1]);
    const responses = p.log.filter((entry) => entry.kind === 'response').map((entry) => mac2Of(entry.bytes));
    expect(responses).toHaveLength(2);
    expect(responses[0]).toBe(NO_MAC2);
    expect(responses[1]).not.toBe(NO_MAC2);
  });

  test('is taken once, and only for the last message that was sent', () => {
    const p = pair();
    const replies: Uint8Array[] = [];
    p.world.network.blocked = ({ bytes, source }) => {
      if (source === p.bob.endpoint && bytes[0] === 3) replies.push(bytes);
      return source === p.bob.endpoint;
    };
    p.alice.send(p.bob, 1);
    p.world.run(9);
    putUnderLoad(p.bob);
    p.world.run(6_000);
    const forAlice = replies.filter((reply) => reply.length === 64).at(-1) ?? new Uint8Array();
    // By now the second initiation has gone out: the reply to the first is for an index that is gone.
    p.alice.plane.io.udpInput(forAlice, p.bob.endpoint, p.alice.endpoint);
    p.alice.run();
    expect(p.count('alice', 'initiation')).toBe(2);
    expect(p.alice.engine.counters.reached.cookiesAccepted).toBe(0);

    const q = pair();
    q.alice.send(q.bob, 1);
    q.world.run(9);
    putUnderLoad(q.bob);
    q.world.run(100);
    expect(q.alice.engine.counters.reached.cookiesAccepted).toBe(1);
    const index = q.log
      .find((entry) => entry.from === 'alice')
      ?.bytes.subarray(4, 8)
      .join();
    const again = q.log.find((entry) => entry.kind === 'cookie' && entry.bytes.subarray(4, 8).join() === index);
    q.alice.plane.io.udpInput(again?.bytes ?? new Uint8Array(), q.bob.endpoint, q.alice.endpoint);
    q.alice.run();
    expect(q.alice.engine.counters.reached.cookiesAccepted).toBe(1);
    expect(q.alice.engine.counters.dropped.badCookie).toBe(1);
  });

  test('is good for the address and port that it was given to and for no other', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.world.run(9);
    putUnderLoad(p.bob);
    p.world.network.blocked = ({ bytes }) => bytes[0] === 1;
    p.world.run(5_400);
    const withMac2 = p.log.filter((entry) => entry.from === 'alice' && entry.kind === 'initiation').at(-1);
    const message = withMac2?.bytes ?? new Uint8Array();
    expect(mac2Of(message)).not.toBe(NO_MAC2);
    putUnderLoad(p.bob);
    const refused = p.bob.engine.counters.dropped.noMac2;
    for (const source of ['192.0.2.1:51821', '192.0.2.99:51820'] as Endpoint[]) {
      p.bob.plane.io.udpInput(message, source, p.bob.endpoint);
      p.bob.run();
    }
    expect(p.bob.engine.counters.dropped.noMac2).toBe(refused + 2);
    expect(p.count('bob', 'response')).toBe(0);
    p.bob.plane.io.udpInput(message, p.alice.endpoint, p.bob.endpoint);
    p.bob.run();
    expect(p.count('bob', 'response')).toBe(1);
  });

  test('is used for 115 s at most: an initiation after that has an empty mac2', () => {
    const p = pair();
    const givenAt = p.world.now + 20;
    p.alice.send(p.bob, 1);
    p.world.run(9);
    putUnderLoad(p.bob);
    p.world.run(50);
    expect(p.alice.engine.counters.reached.cookiesAccepted).toBe(1);
    p.world.network.blocked = () => true;
    for (let i = 0; i < 13; i++) {
      p.alice.send(p.bob, i);
      p.world.run(10_000);
    }
    const sent = p.log.filter((entry) => entry.from === 'alice' && entry.at > givenAt);
    expect(sent.length).toBeGreaterThan(20);
    for (const { at, bytes } of sent) expect(mac2Of(bytes) === NO_MAC2).toBe(at >= givenAt + 115_000);
  });

  test('is asked for after mac1 only: what fails mac1 gets nothing, under load or not', () => {
    const p = pair();
    putUnderLoad(p.bob);
    const before = p.count('bob', 'cookie');
    const bad = forgedInitiation(p.bob, 7);
    bad[116] = (bad[116] as number) ^ 1;
    p.bob.plane.io.udpInput(bad, p.alice.endpoint, p.bob.endpoint);
    p.bob.run();
    expect(p.count('bob', 'cookie')).toBe(before);
    expect(p.bob.plane.drops().inBadMac1).toBe(1);
  });
});

describe('load', () => {
  test('is the only reason to look at mac2: without it an initiation with a cookie that nobody knows is served', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.world.run(9);
    putUnderLoad(p.bob);
    p.world.run(50);
    expect(p.alice.engine.counters.reached.cookiesAccepted).toBe(1);
    // Bob starts anew, with another secret and nothing to do.
    p.bob.reboot();
    p.bob.addPeer(p.alice);
    p.world.run(6_000);
    const retry = p.log.filter((entry) => entry.from === 'alice' && entry.kind === 'initiation').at(-1);
    expect(mac2Of(retry?.bytes ?? new Uint8Array())).not.toBe(NO_MAC2);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([1]);
  });

  test('is not a number of handshakes: three hundred, one after the other, get no cookie', () => {
    const p = pair();
    p.world.network.conditions.latencyMs = 1;
    for (let i = 0; i < 300; i++) {
      p.alice.configure((engine, now) => {
        engine.linkDown(now);
        engine.linkUp(now);
      });
      p.alice.send(p.bob, i);
      p.world.run(25);
    }
    expect(p.bob.engine.counters.reached.initiationsAccepted).toBe(300);
    expect(p.bob.engine.counters.reached.cookieRepliesSent).toBe(0);
  });

  test('is not made by one flooder: the peers of others are served without cookies meanwhile', () => {
    const p = pair();
    const message = forgedInitiation(p.bob, 1);
    for (let ms = 0; ms < 4_000; ms += 5) {
      for (let i = 0; i < 10; i++) p.bob.plane.io.udpInput(message, ELSEWHERE, p.bob.endpoint);
      p.bob.run();
      if (ms === 3_000) p.alice.send(p.bob, 1);
      p.world.run(5);
    }
    expect(p.bob.plane.drops().inRateLimited).toBeGreaterThan(4_000);
    expect(p.bob.engine.counters.reached.cookieRepliesSent).toBe(0);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([1]);
    expect(p.count('alice', 'initiation')).toBe(1);
  });
});

describe('silence', () => {
  test('is all that a stranger hears whose initiation is good but whose key is no peer’s', () => {
    const f = new Fixture();
    const bob = f.world.addHost('bob');
    const carol = f.world.addHost('carol');
    carol.addPeer(bob);
    carol.send(bob, 1);
    f.world.run(4_000);
    expect(f.wire()).toEqual(['carol:initiation']);
    expect(bob.engine.counters.dropped.unknownPeer).toBe(1);
    expect(bob.plane.totals().udpDatagramsOut).toBe(0);
  });

  test('is all that is heard by who names a peer’s key without holding it, and by who sends nonsense with a good mac1', () => {
    const p = pair();
    for (let i = 0; i < 20; i++) {
      p.bob.plane.io.udpInput(forgedInitiation(p.bob, i), ELSEWHERE, p.bob.endpoint);
    }
    p.bob.run();
    expect(p.log).toEqual([]);
    expect(p.bob.engine.counters.dropped.badInitiation).toBe(20);
    expect(p.bob.peerOf(p.alice).endpoint).toBe(p.alice.endpoint);
  });

  test('follows a response that answers nothing, and one that comes twice', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    p.world.run(100);
    const response = p.log.find((entry) => entry.kind === 'response')?.bytes ?? new Uint8Array();
    const from = p.log.length;
    p.alice.plane.io.udpInput(response, ELSEWHERE, p.alice.endpoint);
    p.bob.plane.io.udpInput(response, p.alice.endpoint, p.bob.endpoint);
    p.alice.run();
    p.bob.run();
    expect(p.wire(from)).toEqual([]);
    expect(p.alice.plane.drops().inUnknownIndex).toBe(1);
    expect(p.alice.peerOf(p.bob).endpoint).toBe(p.bob.endpoint);
  });
});

describe('the endpoint', () => {
  /** Alice's link restarts, and her initiation is answered by Bob from another address. */
  function answeredFromElsewhere(p: Pair, change: (response: Uint8Array) => void): void {
    p.world.network.blocked = ({ bytes, source }) => source === p.bob.endpoint && bytes[0] === 2;
    p.alice.send(p.bob, 1);
    p.world.run(100);
    const response = (p.log.find((entry) => entry.kind === 'response')?.bytes ?? new Uint8Array()).slice();
    change(response);
    p.alice.plane.io.udpInput(response, ELSEWHERE, p.alice.endpoint);
    p.alice.run();
  }

  test('follows an authenticated response', () => {
    const p = pair();
    answeredFromElsewhere(p, () => {});
    expect(p.alice.peerOf(p.bob).endpoint).toBe(ELSEWHERE);
    expect(p.alice.plane.endpoint(p.alice.peerOf(p.bob).slot)).toBe(ELSEWHERE);
  });

  test('does not follow a response that fails to authenticate, though its mac1 is good', () => {
    const p = pair();
    answeredFromElsewhere(p, (response) => {
      response[20] = (response[20] as number) ^ 1;
      const key = mac1Key(nodeProvider, fromHex(p.alice.publicKeyHex) ?? new Uint8Array());
      response.set(nodeProvider.mac(key, response.subarray(0, 60)), 60);
    });
    expect(p.alice.engine.counters.dropped.badResponse).toBe(1);
    expect(p.alice.peerOf(p.bob).endpoint).toBe(p.bob.endpoint);
  });

  test('that is shown is the one in use, also when JavaScript stood still while the peer moved twice', () => {
    const p = connectedPair();
    const run = vi.spyOn(p.bob, 'run').mockImplementation(() => {});
    p.alice.move(ELSEWHERE);
    p.alice.send(p.bob, 2);
    p.world.run(50);
    const last = '203.0.113.78:999' as Endpoint;
    p.alice.move(last);
    p.alice.configure((engine, now) => {
      engine.linkDown(now);
      engine.linkUp(now);
    });
    p.alice.send(p.bob, 3);
    p.world.run(50);
    run.mockRestore();
    p.bob.run();
    expect(p.bob.plane.endpoint(p.bob.peerOf(p.alice).slot)).toBe(last);
    expect(p.bob.peerOf(p.alice).endpoint).toBe(last);
  });
});

describe('the source address that sticks to an endpoint', () => {
  test('is forgotten with every retry and by the timer of silence, and learned again from what comes', () => {
    const p = connectedPair();
    p.world.run(30_000);
    const sources = sourcesOf(p.alice);
    p.alice.send(p.bob, 2);
    expect(sources).toEqual([p.alice.endpoint]);
    p.world.network.blocked = ({ source }) => source === p.bob.endpoint;
    p.world.run(15_400);
    expect(p.count('alice', 'initiation')).toBe(1);
    expect(sources.at(-1)).toBeNull();
    p.world.network.blocked = () => false;
    p.world.run(6_000);
    p.alice.send(p.bob, 3);
    expect(sources.at(-1)).toBe(p.alice.endpoint);

    const q = connectedPair();
    q.world.run(121_000);
    const again = sourcesOf(q.alice);
    q.world.network.blocked = ({ source }) => source === q.bob.endpoint;
    q.alice.send(q.bob, 2);
    q.world.run(6_000);
    expect(q.count('alice', 'initiation')).toBe(2);
    // Data and the renewal go from where the session came to; the retry leaves the choice to routing.
    expect(again).toEqual([q.alice.endpoint, q.alice.endpoint, null]);
  });
});

describe('the link', () => {
  /** Tells the engine of the link as the native plane does. */
  function linkEvent(host: Host, change: number): void {
    const { plane } = host;
    vi.spyOn(plane, 'poll').mockImplementationOnce(() => {
      plane.descriptors.fill(0, 0, 16);
      plane.descriptors[0] = DescriptorKind.link;
      plane.descriptors[1] = NO_PEER;
      plane.descriptors[12] = change;
      return 1;
    });
    vi.spyOn(plane, 'release').mockImplementationOnce(() => {});
    host.run();
  }

  test('that goes down closes the sockets: nothing is received, sent, staged or timed until it is up', () => {
    const p = connectedPair();
    const peer = p.alice.peerOf(p.bob);
    linkEvent(p.alice, LinkChange.down);
    expect(p.alice.engine.running).toBe(false);
    const received = peer.recorded(RecordField.rxPackets);
    p.bob.send(p.alice, 2);
    p.alice.send(p.bob, 2);
    p.world.run(60_000);
    expect(peer.recorded(RecordField.rxPackets)).toBe(received);
    expect(p.wire().filter((entry) => entry.startsWith('alice'))).toEqual([]);
    expect(peer.staged).toBe(0);
    expect(p.alice.engine.nextDeadline()).toBe(NEVER);
    expect(stateOf(p.alice, p.bob)).toBe('idle');
    linkEvent(p.alice, LinkChange.up);
    expect(p.alice.engine.running).toBe(true);
    p.alice.send(p.bob, 3);
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice).at(-1)).toBe(3);
  });

  test('has its firewall mark on the sockets after every opening: with another port, and up again', () => {
    const p = pair();
    const bind = vi.spyOn(p.alice.plane, 'bind');
    p.alice.configure((engine, now) => {
      engine.setFwmark(51_820, now);
      engine.setListenPort(4_000, now);
      engine.linkDown(now);
      engine.linkUp(now);
    });
    expect(bind.mock.calls.map(([config]) => config)).toEqual([
      { port: 4_000, fwmark: 51_820 },
      { port: 4_000, fwmark: 51_820 },
    ]);
  });

  test('whose new port is taken keeps the old one, says why, and goes on', () => {
    const p = connectedPair();
    const { plane } = p.alice;
    const bind = vi.spyOn(plane, 'bind').mockImplementationOnce(() => {
      plane.unbind();
      return { ok: false, errno: 'EADDRINUSE' };
    });
    expect(p.alice.engine.setListenPort(53, p.world.now)).toBe('EADDRINUSE');
    expect(bind.mock.calls.at(-1)?.[0].port).toBe(p.alice.engine.listenPort());
    p.alice.send(p.bob, 2);
    p.world.run(100);
    expect(p.bob.sequencesFrom(p.alice)).toEqual([2]);
  });

  test('that goes down in the middle of a handshake leaves nothing of it', () => {
    const p = pair();
    p.alice.send(p.bob, 1);
    linkEvent(p.alice, LinkChange.down);
    expect(p.alice.peerOf(p.bob).attempt).toBeNull();
    expect(p.alice.peerOf(p.bob).staged).toBe(0);
    expect(p.alice.engine.nextDeadline()).toBe(NEVER);
    linkEvent(p.alice, LinkChange.up);
    p.world.run(60_000);
    expect(p.wire()).toEqual(['alice:initiation', 'bob:response']);
    expect(p.alice.plane.drops().inUnknownIndex).toBe(1);
  });
});
