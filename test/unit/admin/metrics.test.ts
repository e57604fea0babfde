// The metrics: what Prometheus reads, on a listener of its own, and that they follow what the core and the server count.

import { describe, expect, it, onTestFinished } from 'vitest';
import { createMetrics } from '../../../src/controller/admin/metrics.ts';
import { openMetricsListener } from '../../../src/service/metrics-listener.ts';
import { AdminWorld, ask } from './admin-fixture.ts';

async function world(settings: ConstructorParameters<typeof AdminWorld>[0] = {}) {
  const made = new AdminWorld(settings);
  const server = { connectionsOpened: 3 };
  const wallNow = made.deps.wallNow;
  const stun = { answered: 5 };
  const metrics = createMetrics({ core: made.core, server: () => server, stun: () => stun, wallNow });
  const listener = await openMetricsListener({ host: '127.0.0.1', port: 0 }, metrics);
  onTestFinished(() => listener.close());
  const read = async (): Promise<Map<string, number>> => {
    const { status, headers, text } = await ask(listener.port, { path: '/metrics' });
    expect([status, headers['content-type']]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8']);
    return parse(text);
  };
  return { world: made, server, metrics, listener, read };
}

/** Samples of the text format; each name has its HELP and TYPE, each line parses, none is there twice. */
function parse(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const typed = new Set<string>();
  for (const line of text.trim().split('\n')) {
    if (line === '' || line.startsWith('# HELP ')) continue;
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (type !== null) {
      typed.add(type[1] as string);
      continue;
    }
    const sample = /^([a-z_]+)(\{[^}]*\})? (\S+)$/.exec(line);
    expect(sample, line).not.toBe(null);
    const [, name, labels, value] = sample as unknown as [string, string, string | undefined, string];
    expect(typed.has(name) || typed.has(name.replace(/_(bucket|sum|count)$/, '')), line).toBe(true);
    const key = `${name}${labels ?? ''}`;
    expect(samples.has(key), key).toBe(false);
    samples.set(key, Number(value));
  }
  return samples;
}

describe('metrics', () => {
  it('follow nodes, registrations and commits', async () => {
    const { world: w, read, metrics, server } = await world();
    expect((await read()).get('warren_nodes{state="active"}')).toBe(0);
    await w.join('kiwi');
    const { id } = await w.join('fig');
    await w.administer({ action: 'nodes.change', node: id as never, edit: { disabled: true } });
    metrics.observeCommit(0.003);
    metrics.observeAnswer('tcp', 401);
    server.connectionsOpened = 5;
    const now = await read();
    expect(now.get('warren_nodes{state="active"}')).toBe(1);
    expect(now.get('warren_nodes{state="disabled"}')).toBe(1);
    expect(now.get('warren_nodes_online')).toBe(1);
    expect(now.get('warren_connections')).toBe(1);
    expect(now.get('warren_auth_keys')).toBe(2);
    expect(now.get('warren_registrations_total{result="joined"}')).toBe(2);
    expect(now.get('warren_commits_total{result="committed"}')).toBeGreaterThan(2);
    expect(now.get('warren_commit_seconds_bucket{le="0.002"}')).toBe(0);
    expect(now.get('warren_commit_seconds_bucket{le="0.005"}')).toBe(1);
    expect(now.get('warren_server_events_total{event="connectionsOpened"}')).toBe(5);
    expect(now.get('warren_stun_events_total{event="answered"}')).toBe(5);
    expect(now.get('warren_api_requests_total{door="tcp",status="401"}')).toBe(1);
    expect(now.get('warren_netmap_sequence')).toBe(w.core.state.seq);
    expect(now.get('process_resident_memory_bytes')).toBeGreaterThan(1e6);
  });

  it('have every counter of the core', async () => {
    const { world: w, read } = await world();
    let value = 1000;
    const counters = w.core.counters as unknown as Record<string, unknown>;
    const wanted: number[] = [];
    for (const [name, count] of Object.entries(counters)) {
      if (typeof count !== 'number') continue;
      counters[name] = ++value;
      wanted.push(value);
    }
    const values = [...(await read()).values()];
    expect(wanted.length).toBeGreaterThan(15);
    for (const count of wanted) expect(values).toContain(count);
  });

  it('do not keep the process awake or grow by being read', async () => {
    const { read } = await world();
    const first = await read();
    for (let i = 0; i < 20; i++) await read();
    expect([...(await read()).keys()]).toEqual([...first.keys()]);
  });

  it('are all that their listener has', async () => {
    const { listener } = await world();
    expect((await ask(listener.port, { path: '/api/v1/nodes' })).status).toBe(404);
    expect((await ask(listener.port, { path: '/metrics', method: 'POST' })).status).toBe(405);
    expect((await ask(listener.port, { path: '/metrics?x=1' })).status).toBe(200);
  });
});
