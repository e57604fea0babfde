// Bugs to plant, one at a time: each replaces text that stands exactly once in a source file. `npm run plant` plants them
// and says which checks notice. A bug that nothing notices is a hole in the tests.

/** @type {readonly { name: string; file: string; find: string; replace: string }[]} */
export const BUGS = [
  {
    name: 'a relay leaves the receiver’s slot in what it forwards',
    file: 'src/dataplane/reference/inbound.ts',
    find: 'relayedDatagram(user.slot, inner)',
    replace: 'bytes.slice()',
  },
  {
    name: 'a relay forwards what is no WireGuard message',
    file: 'src/dataplane/reference/inbound.ts',
    find: "if (!isWireGuard(inner)) return 'relayBadInner';",
    replace: 'void 0;',
  },
  {
    name: 'an endpoint that another user of the relay has proved stays the first one’s',
    file: 'src/dataplane/reference/relays.ts',
    find: 'if (peer.endpoint !== null) this.#byEndpoint.set(',
    replace: 'if (peer.endpoint !== null && !this.#byEndpoint.has(peer.endpoint)) this.#byEndpoint.set(',
  },
  {
    name: 'two paths of a peer that alternate are told with every packet',
    file: 'src/dataplane/reference/inbound.ts',
    find: '  if (!waits && peer.roamedAt !== UNSET',
    replace: '  if (!waits && peer.roamedAt === UNSET',
  },
  {
    name: 'a probe to somewhere else counts as the answer that is owed',
    file: 'src/dataplane/reference/outbound.ts',
    find: '  const message = sealed(state, keypair, plaintext);\n  writeUdp(state, message, endpoint, null);',
    replace:
      '  const message = sealed(state, keypair, plaintext);\n  peer.record.set(RecordField.answerOwedSince, 0);\n  writeUdp(state, message, endpoint, null);',
  },
  {
    name: 'the checksum does not follow an MSS at an odd place',
    file: 'src/dataplane/reference/path-mtu.ts',
    find: '(at - tcpAt) % 2 === 0 ? [at] : [at - 1, at + 1]',
    replace: '[at]',
  },
  {
    name: 'the replay check is skipped',
    file: 'src/dataplane/reference/inbound.ts',
    find: "if (!keypair.replay.accept(counter)) return 'inReplayed';",
    replace: 'keypair.replay.accept(counter);',
  },
  {
    name: 'a send counter is used twice, once in 50',
    file: 'src/dataplane/reference/outbound.ts',
    find: 'const counter = keypair.sendCounter++;',
    replace: 'const counter = keypair.sendCounter % 50n === 49n ? keypair.sendCounter++ - 1n : keypair.sendCounter++;',
  },
  {
    name: 'the retransmission timer is not cancelled when the attempt ends',
    file: 'src/wireguard/attempts.ts',
    find: '    timers.retransmitAt = NEVER;\n    timers.crossingAt = NEVER;\n    reschedule',
    replace: '    timers.crossingAt = NEVER;\n    reschedule',
  },
  {
    name: 'an initiation’s stamp is not compared with the greatest accepted',
    file: 'src/wireguard/answers.ts',
    find: 'if (!isLaterStamp(state.timestamp, memory.greatestStamp)) {',
    replace: 'if (!isLaterStamp(state.timestamp, null)) {',
  },
  {
    name: 'the inner source is checked against the peer’s own list only (any peer will do)',
    file: 'src/dataplane/reference/inbound.ts',
    find: "return 'inWrongSource';",
    replace: 'void 0;',
  },
  {
    name: 'the responder sends with the new keypair before it is confirmed',
    file: 'src/dataplane/reference/keypairs.ts',
    find: '    const displaced = [this.previous, this.next];\n    this.previous = null;\n    this.next = keypair;',
    replace:
      '    const displaced = [this.previous, this.next];\n    this.previous = this.current;\n    this.next = null;\n    this.current = keypair;',
  },
  {
    name: 'the previous keypair is dropped at once when a new one is installed',
    file: 'src/dataplane/reference/keypairs.ts',
    find: '    this.previous = this.current;\n    this.current = this.next;',
    replace: '    displaced.push(this.current);\n    this.previous = null;\n    this.current = this.next;',
  },
  {
    name: 'the queue is not flushed when an attempt is given up',
    file: 'src/wireguard/attempts.ts',
    find: '    plane.dropStaged(peer.slot, { unreachable: true }, now);\n    if (!heard)',
    replace: '    if (!heard)',
  },
  {
    name: 'keys are never wiped',
    file: 'src/wireguard/sessions.ts',
    find: '    timers.zeroKeysAt = after(now, ZERO_KEYS_TIME_MS);\n    if (timers.idleCloseAt',
    replace: '    if (timers.idleCloseAt',
  },
  {
    name: 'a session is used beyond 180 s',
    file: 'src/wireguard/sessions.ts',
    find: 'rejectAt: after(keypair.derivedAt, REJECT_AFTER_TIME_MS),',
    replace: 'rejectAt: after(keypair.derivedAt, 10 * REJECT_AFTER_TIME_MS),',
  },
  {
    name: 'both ends renew the session',
    file: 'src/wireguard/sessions.ts',
    find: 'rekeyOnSendAt: initiator ? after(keypair.derivedAt, REKEY_AFTER_TIME_MS) : NEVER,',
    replace: 'rekeyOnSendAt: after(keypair.derivedAt, REKEY_AFTER_TIME_MS),',
  },
  {
    name: 'a failed response destroys the pending handshake',
    file: 'src/wireguard/attempts.ts',
    find: "      this.#context.counters.drop('badResponse');\n      return false;",
    replace:
      "      this.#context.counters.drop('badResponse');\n      this.#dropPending(attempt);\n      return false;",
  },
  {
    name: 'a new handshake begins 15 s after the last receipt although nothing was sent',
    file: 'src/dataplane/reference/inbound.ts',
    find: '  peer.record.set(RecordField.answerAwaitedSince, 0);',
    replace: '  peer.record.set(RecordField.answerAwaitedSince, now);',
  },
  {
    name: 'keepalives are answered with keepalives',
    file: 'src/dataplane/reference/inbound.ts',
    find: '  if (first === undefined) return null;',
    replace:
      '  if (first === undefined) {\n    if (peer.record.get(RecordField.answerOwedSince) === 0) peer.record.set(RecordField.answerOwedSince, state.now);\n    state.events.notify(peer.news, Notify.answerOwed, DescriptorKind.answerOwed);\n    return null;\n  }',
  },
  {
    name: 'a handshake in flight survives a change of our private key',
    file: 'src/wireguard/engine.ts',
    find: 'else if (peer.attempt !== null || peer.session !== null || peer.staged > 0) this.#attempts.restart(peer, now);',
    replace: 'else if (peer.session !== null) this.#attempts.begin(peer, now);',
  },
  {
    name: 'removing a peer leaves its timers running',
    file: 'src/wireguard/engine.ts',
    find: '      peer.timers.clear();\n      this.#context.deadlines.remove(peer.timers);',
    replace: '      void peer.timers;',
  },
  {
    name: 'both ends of a crossing keep their own keypair',
    file: 'src/wireguard/attempts.ts',
    find: '    return ownPublicKeyHex > peer.publicKeyHex;',
    replace: '    return ownPublicKeyHex === peer.publicKeyHex;',
  },
  {
    name: 'the endpoint follows packets before they are authenticated as new',
    file: 'src/dataplane/reference/inbound.ts',
    find: "  const plaintext = state.crypto.open(keypair.receiveKey, counter, ciphertext, NOTHING);\n  if (plaintext === null) return 'inBadTag';",
    replace:
      "  const plaintext = state.crypto.open(keypair.receiveKey, counter, ciphertext, NOTHING);\n  if (plaintext === null) return 'inBadTag';\n  followSource(peer, received.source, received.local);",
  },
];
