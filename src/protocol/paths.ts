// Where things are on a machine unless the command line says otherwise. Apart from the schemas, so that a command which
// only wants a path loads no validator.

/** The daemon's local API (local-api.ts). */
export const SOCKET_PATH_DEFAULT = '/run/warren/warren.sock';
export const STATE_DIR_DEFAULT = '/var/lib/warren/daemon';
