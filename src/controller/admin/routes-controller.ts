// The controller itself: what it is, whether it asks for approval, who changed what, its backup, and the description of this
// API. Leaves out what is chosen once, when a network is made: its addresses.

import { stat } from 'node:fs/promises';
import { z } from 'zod';
import {
  auditPageSchema,
  auditQuerySchema,
  type BackupLine,
  backupLineSchema,
  backupRequestSchema,
  controllerChangeSchema,
  controllerViewSchema,
} from '../../protocol/admin-api.ts';
import { startFailureOf } from '../../service/start-error.ts';
import { apiFailure } from './api-failure.ts';
import { carryOut } from './carry-out.ts';
import { type Call, route } from './route.ts';
import { auditView, controllerView } from './views.ts';

/** Lines of progress: one per percent is enough for any bar. */
const PROGRESS_LINES_MAX = 100;

export const CONTROLLER_ROUTES = [
  route({
    method: 'GET',
    path: '/controller',
    operation: 'getController',
    summary: 'The controller and its network',
    access: 'any',
    response: controllerViewSchema,
    handle: ({ deps }) => controllerView(deps),
  }),
  route({
    method: 'PATCH',
    path: '/controller',
    operation: 'changeController',
    summary: 'Change what is in the body: whether new nodes wait for approval',
    access: 'admin',
    request: controllerChangeSchema,
    response: controllerViewSchema,
    handle: async (call) => {
      const { requireApproval } = call.body;
      if (requireApproval === undefined) throw apiFailure('invalid', 'there is nothing to change in the body');
      await carryOut(call, { action: 'settings.change', edit: { requireApproval } }, 'settings');
      return controllerView(call.deps);
    },
  }),
  route({
    method: 'GET',
    path: '/audit',
    operation: 'listAudit',
    summary: 'Administrative changes, newest first: who, what, when, from where',
    access: 'audit:read',
    query: auditQuerySchema,
    response: auditPageSchema,
    handle: async ({ deps, query }) => {
      const { records, next } = await deps.audit(query.before ?? null, query.limit);
      return { records: records.map(auditView), next };
    },
  }),
  route({
    method: 'POST',
    path: '/backup',
    operation: 'backUp',
    summary: 'Write a consistent copy of the database to a file on the controller, while it runs',
    access: 'admin',
    doors: ['socket'],
    request: backupRequestSchema,
    response: backupLineSchema,
    lines: true,
    handle: backUp,
  }),
];

export function openApiRoute(document: () => Record<string, unknown>) {
  return route({
    method: 'GET',
    path: '/openapi.json',
    operation: 'getOpenApi',
    summary: 'This description',
    access: 'public',
    response: z.record(z.string(), z.unknown()),
    handle: document,
  });
}

async function backUp({ deps, body, writeLine }: Call<unknown, { path: string }>): Promise<BackupLine> {
  const { path } = body;
  if (await exists(path)) {
    throw apiFailure('conflict', `there is a file ${path} already`, {
      why: 'a backup never overwrites anything',
      help: 'choose another name, or remove that file',
    });
  }
  let told = -1;
  try {
    await deps.backup(path, (done, total) => {
      const step = total === 0 ? 0 : Math.floor((done / total) * PROGRESS_LINES_MAX);
      if (step === told) return;
      told = step;
      writeLine({ type: 'progress', done, total } satisfies BackupLine);
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw apiFailure('conflict', `the backup to ${path} failed`, {
      why,
      help:
        startFailureOf(error)?.help ??
        'the controller writes the file with its own rights: see that it may, and that there is room',
    });
  }
  const { size } = await stat(path);
  const line: BackupLine = { type: 'done', path, bytes: size };
  writeLine(line);
  return line;
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
