// Where things are on a machine unless the command line says otherwise. Apart from the schemas, so that a command which
// only wants a path loads no validator.

/** The daemon's local API (local-api.ts). */
export const SOCKET_PATH_DEFAULT = '/run/warren/warren.sock';
export const STATE_DIR_DEFAULT = '/var/lib/warren/daemon';

/** The controller's data; its admin socket is inside. */
export const DATA_DIR_DEFAULT = '/var/lib/warren/controller';
export const ADMIN_SOCKET_NAME = 'admin.sock';
/** Of its REST API (admin-api.ts), on the socket and on its listener. */
export const ADMIN_PREFIX = '/api/v1';

/** A relay's: keys and the last netmap. */
export const RELAY_STATE_DIR_DEFAULT = '/var/lib/warren/relay';
/** UDP; the number of the controller's TCP port. */
export const RELAY_PORT_DEFAULT = 7370;
