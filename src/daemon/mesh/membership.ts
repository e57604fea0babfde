// Which network the machine belongs to, as DIR/node.json has it: what `up` makes of that with a join link or without one, and what the
// controller is told of it. Pure but for a new key and the machine's own name.

import { hostname as systemHostname } from 'node:os';
import { nodeProvider } from '../../crypto/node.ts';
import { type JoinLink, parseJoinLink } from '../../protocol/join-link.ts';
import type { UpRequest } from '../../protocol/local-api.ts';
import { HOSTNAME_LENGTH_MAX, type PublicKeyText } from '../../protocol/values.ts';
import { type MeshNodeOptions, publicKeyText } from './mesh-node.ts';
import { keyBytes, type NodeFile, newPrivateKey } from './node-file.ts';
import { ProblemError } from './problem-error.ts';
import { badJoinLink, linkWithoutSecret, notConfigured, otherNetwork } from './problems.ts';

/** Without a link. Throws a ProblemError. */
export function resumed(file: NodeFile | null, { hostname }: UpRequest): NodeFile {
  if (file === null) throw new ProblemError(notConfigured());
  return { ...file, wanted: 'up', hostname: hostname ?? file.hostname };
}

/** With the link `text`; a member stays who it is. Throws a ProblemError. */
export function joining(before: NodeFile | null, text: string, { hostname }: UpRequest): NodeFile {
  const parsed = parseJoinLink(text);
  if (!parsed.ok) throw new ProblemError(badJoinLink(parsed.reason));
  const { link } = parsed;
  if (before?.joined === true) {
    if (before.controller.key !== link.controllerKey) throw new ProblemError(otherNetwork(before.controller.url));
    return { ...before, ...membershipOf(link), wanted: 'up', hostname: hostname ?? before.hostname };
  }
  if (link.authKey === null) throw new ProblemError(linkWithoutSecret());
  return {
    format: 1,
    privateKey: before?.privateKey ?? newPrivateKey(),
    nextPrivateKey: null,
    joined: false,
    wanted: 'up',
    hostname,
    ...membershipOf(link),
  };
}

/** What the controller is told at first. */
export function startOf(file: NodeFile): MeshNodeOptions['start'] {
  return {
    hostname: file.hostname ?? defaultHostname(),
    authKey: file.authKey,
    nextKey: publicKeyOf(file.nextPrivateKey),
  };
}

function membershipOf(link: JoinLink): Pick<NodeFile, 'controller' | 'authKey'> {
  return { controller: { url: link.url, key: link.controllerKey }, authKey: link.authKey };
}

/** Whether a node that runs for `before` is what `next` wants. */
export function sameMembership(before: NodeFile | null, next: NodeFile): boolean {
  return (
    before !== null &&
    before.privateKey === next.privateKey &&
    before.controller.url === next.controller.url &&
    before.controller.key === next.controller.key &&
    before.hostname === next.hostname &&
    before.wanted === next.wanted &&
    (before.authKey === next.authKey || before.joined)
  );
}

function defaultHostname(): string {
  const name = systemHostname().slice(0, HOSTNAME_LENGTH_MAX);
  return name === '' ? 'node' : name;
}

/** Null for null. */
export function publicKeyOf(privateKey: string | null): PublicKeyText | null {
  if (privateKey === null) return null;
  const secret = keyBytes(privateKey);
  const key = nodeProvider.importPrivateKey(secret);
  const text = publicKeyText(key.publicKey);
  secret.fill(0);
  key.wipe();
  return text;
}
