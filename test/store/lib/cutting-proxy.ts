// Stands between a store and the PostgreSQL server and cuts the connection at the worst moments: when a COMMIT has arrived
// but not been passed on, or when it has been made and the answer has not. Reads of the protocol only what it must: the
// text of the client's simple queries.

import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';

export type Cut = 'before commit' | 'after commit' | 'after commit, and for good';

const SOCKET = '.s.PGSQL.5432';

export class CuttingProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #cut: Cut | null = null;
  /** New connections are closed at once. */
  #isDown = false;
  cuts = 0;

  private constructor(serverDirectory: string) {
    this.#server = createServer((client) => this.#join(client, connect(join(serverDirectory, SOCKET))));
  }

  /** Listens in `directory`, which is then the `host` of the URL. */
  static async start(directory: string, serverDirectory: string): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(serverDirectory);
    await new Promise<void>((resolve) => proxy.#server.listen(join(directory, SOCKET), resolve));
    return proxy;
  }

  /** The next COMMIT. */
  cutNext(cut: Cut): void {
    this.#cut = cut;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(client: Socket, server: Socket): void {
    const end = () => {
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on('error', end).on('close', end);
    }
    if (this.#isDown) {
      end();
      return;
    }
    let isCutting = false;
    client.on('data', (bytes) => {
      const cut = this.#cut;
      if (cut !== null && /^Q.{4}commit\0$/is.test(bytes.toString('latin1'))) {
        this.#cut = null;
        this.cuts++;
        if (cut === 'before commit') {
          end();
          return;
        }
        if (cut === 'after commit, and for good') this.#isDown = true;
        isCutting = true;
      }
      server.write(bytes);
    });
    server.on('data', (bytes) => {
      // The server answers when it has committed; that answer is lost.
      if (isCutting) end();
      else client.write(bytes);
    });
  }
}
