// Starts the built command line (dist/cli/main.js) for bin/warren and bin/warren-wg: from any directory, through any
// symlink, with plain node. Written for old Nodes, so that they too say what is wrong; bin/package.json makes the files
// here CommonJS, which is the one module kind that a file without extension has in every version.

'use strict';

const NODE_MINIMUM = [20, 19];
const EXIT_CANNOT_RUN = 126;
const EXIT_NOT_FOUND = 127;

function quit(program, code, lines) {
  process.stderr.write(`${program}: ${lines.join(`\n${program}: `)}\n`);
  process.exit(code);
}

/** `file`: the program's own path, symlinks allowed. */
module.exports = function start(program, file) {
  const version = process.versions.node.split('.').map(Number);
  if (version[0] < NODE_MINIMUM[0] || (version[0] === NODE_MINIMUM[0] && version[1] < NODE_MINIMUM[1])) {
    quit(program, EXIT_CANNOT_RUN, [
      `Node ${process.versions.node} is too old: ${NODE_MINIMUM.join('.')} or newer is needed`,
      'install a newer Node (https://nodejs.org/en/download), or put it first on the PATH',
    ]);
  }

  // Not before the check above: old Nodes do not know these names.
  const fs = require('node:fs');
  const path = require('node:path');
  const url = require('node:url');

  const root = path.dirname(path.dirname(fs.realpathSync(file)));
  const main = path.join(root, 'dist', 'cli', 'main.js');
  if (!fs.existsSync(main)) {
    quit(program, EXIT_NOT_FOUND, [
      `not built yet: ${main} does not exist`,
      `build it with: node ${path.join(root, 'scripts', 'setup.mjs')}`,
    ]);
  }

  // A reader that goes away (`warren status | head -1`) is no error.
  process.stdout.on('error', (error) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });

  import(url.pathToFileURL(main).href)
    .then((cli) => cli.main(process.argv.slice(2), program))
    .then(
      (code) => {
        process.exitCode = code;
      },
      (error) => quit(program, 1, [`internal error: ${error instanceof Error ? error.stack : error}`]),
    );
};
