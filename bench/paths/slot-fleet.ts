// A process of many members that have a slot at a relay and nothing to say: each joins by the product's control client and leaves again, then
// has its slot. Driven over IPC; relay-slots.ts starts it in the controller's namespace, where connections of one source are not limited.

import { randomBytes } from 'node:crypto';
import type { PublicKey } from '../../src/crypto/provider.ts';
import { parseJoinLink } from '../../src/protocol/join-link.ts';
import { FleetClient, now } from '../mesh/fleet-client.ts';
import { takeSlot } from './slot-client.ts';

const JOINS_AT_ONCE = 32;
/** Few, so that the relay is never under load and asks nobody for a cookie. */
const SLOTS_AT_ONCE = 8;
const JOIN_LIMIT_MS = 60_000;

export type SlotFleetRequest =
  | { readonly kind: 'join'; readonly link: string; readonly count: number }
  | { readonly kind: 'slots'; readonly relayKeyHex: string; readonly relayAddress: string; readonly relayPort: number };

export interface SlotFleetAnswer {
  readonly seconds: number;
  readonly failed: readonly string[];
}

const keys: Uint8Array[] = [];

async function severally(count: number, atOnce: number, work: (index: number) => Promise<void>): Promise<string[]> {
  const failed: string[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) {
      await work(index).catch((error: unknown) => {
        failed.push(String(error));
      });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return failed;
}

async function join({ link, count }: SlotFleetRequest & { kind: 'join' }): Promise<string[]> {
  const parsed = parseJoinLink(link);
  if (!parsed.ok || parsed.link.authKey === null) throw new Error('not a join link');
  const { url, controllerKey, authKey } = parsed.link;
  const target = { url, controllerKey: new Uint8Array(Buffer.from(controllerKey, 'base64url')) as PublicKey };
  return await severally(count, JOINS_AT_ONCE, async (index) => {
    const key = new Uint8Array(randomBytes(32));
    await new Promise<void>((resolve, reject) => {
      const events = {
        connected: () => finish(null),
        delta: () => undefined,
        failed: (_client: FleetClient, why: string) => finish(new Error(why)),
      };
      const client = new FleetClient(index, false, target, events, key);
      const finish = (error: Error | null): void => {
        clearTimeout(limit);
        // Not from within a call of the client itself.
        setImmediate(() => client.stop());
        if (error === null) resolve();
        else reject(error);
      };
      const limit = setTimeout(() => finish(new Error('it could not join in time')), JOIN_LIMIT_MS);
      client.start(authKey);
    });
    keys.push(key);
  });
}

function slots(request: SlotFleetRequest & { kind: 'slots' }): Promise<string[]> {
  const { relayKeyHex, relayAddress, relayPort } = request;
  return severally(keys.length, SLOTS_AT_ONCE, (index) => {
    const address = `10.77.${(index >> 8) & 255}.${index & 255}`;
    return takeSlot({ privateKey: keys[index] as Uint8Array, address, relayKeyHex, relayAddress, relayPort });
  });
}

process.on('message', (request: SlotFleetRequest) => {
  const started = now();
  const work = request.kind === 'join' ? join(request) : slots(request);
  work.then(
    (failed) => process.send?.({ seconds: (now() - started) / 1_000, failed } satisfies SlotFleetAnswer),
    (error: unknown) => {
      process.stderr.write(`slot fleet: ${String(error)}\n`);
      process.exit(1);
    },
  );
});
process.on('disconnect', () => process.exit(0));
