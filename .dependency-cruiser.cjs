// Which room may import which, each rule with its reason (docs/architecture.md shows the rooms). Checked on the
// TypeScript sources by `npm run deps`; test/unit/tooling plants a violation of every rule and expects it to be found.
// What a single file may contain (clocks, chance, async) is biome.json's and scripts/check-sources.mjs's.

const inRoom = (...rooms) => `^src/(${rooms.join('|')})(/|$)`;

const PROVIDER = '^src/crypto/provider\\.ts$';
const SEAM = '^src/dataplane/dataplane\\.ts$';
const PURE =
  '^src/(base|noise|wireguard|path|mesh|protocol|controller/state|relay/engine|sim|dataplane/reference)/|^src/dataplane/dataplane\\.ts$|^src/crypto/provider\\.ts$';
/** The simulator's shell: reads arguments, prints, sets the exit code. */
const SIM_MAIN = '^src/sim/main\\.ts$';
const TEST_TOOLS = '^(test|bench|demo|scripts)/';

/** `room` may import itself and what is `allowed`; anything else breaks the rule. */
const only = (name, room, allowed, comment) => ({
  name,
  comment,
  severity: 'error',
  from: { path: room },
  // Packages and Node's modules have rules of their own.
  to: { path: '^(src|test|bench|demo|scripts|web)/', pathNot: [room, ...allowed] },
});

const entryOf = (rooms) => `^src/(${rooms})/[a-z0-9-]*main\\.ts$`;

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      comment: 'Two files that import each other are one file in two pieces: neither can be read or tested alone.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-orphans',
      comment:
        'A source that nobody imports is dead, or its test and its user are missing. Entry points are named here.',
      severity: 'error',
      from: {
        orphan: true,
        path: '^src/',
        pathNot: ['^src/(cli|sim|daemon|controller|relay)/[a-z0-9-]*main\\.ts$', '\\.d\\.ts$'],
      },
      to: {},
    },
    {
      name: 'no-unresolvable',
      comment: 'An import that leads nowhere fails on the machine of whoever runs it.',
      severity: 'error',
      from: {},
      // What is compiled is not there before the compiler ran.
      to: { couldNotResolve: true, pathNot: ['\\.node$', '(^|/)dist/'] },
    },
    {
      name: 'no-dev-dependencies-in-product',
      comment: 'What runs on a host is installed without devDependencies.',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-tests-in-product',
      comment: 'The product must not need tests, benchmarks or scripts in order to run.',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: TEST_TOOLS },
    },
    {
      name: 'pure-rooms-without-node',
      comment:
        'Pure rooms are functions of (input, now): no sockets, files, clocks or entropy, so that a test or a simulation is exact.',
      severity: 'error',
      from: { path: PURE, pathNot: SIM_MAIN },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'pure-rooms-without-packages',
      comment:
        'The protocol depends on nothing that we do not read; primitives come in through the crypto provider. Schemas may use a library.',
      severity: 'error',
      from: { path: PURE, pathNot: [SIM_MAIN, '^src/protocol/'] },
      to: {
        dependencyTypes: ['npm', 'npm-dev', 'npm-optional', 'npm-peer', 'npm-bundled', 'npm-no-pkg', 'npm-unknown'],
      },
    },
    only(
      'base-imports-nothing',
      inRoom('base'),
      [],
      'base lies under every room; whatever it imported, all would import.',
    ),
    only(
      'provider-imports-base',
      PROVIDER,
      ['^src/base/'],
      'The provider interface is what pure rooms see of cryptography; it must not bring an implementation with it.',
    ),
    only(
      'crypto-imports-base',
      inRoom('crypto'),
      ['^src/base/'],
      'Primitives know nothing of who uses them, so that one vector suite covers every implementation.',
    ),
    only(
      'noise-imports-base-and-provider',
      inRoom('noise'),
      ['^src/base/', PROVIDER],
      'Noise is a framework by itself: it reads like its specification and knows neither WireGuard nor the control protocol.',
    ),
    only(
      'wireguard-imports-the-seam-only',
      inRoom('wireguard'),
      ['^src/base/', '^src/noise/', PROVIDER, SEAM],
      'The peer is testable without a node, a TUN or a socket: it sees the data plane and cryptography as interfaces only.',
    ),
    only(
      'dataplane-seam-imports-base',
      SEAM,
      ['^src/base/', PROVIDER],
      'The seam is the one thing both planes and the protocol share; it depends on neither.',
    ),
    only(
      'reference-plane-is-self-contained',
      inRoom('dataplane/reference'),
      ['^src/base/', PROVIDER, SEAM, '^src/wireguard/(allowed-ips|replay-window)\\.ts$'],
      'The reference plane is the oracle for the native one and for the protocol: built from the protocol, it would share its mistakes. Two data structures with property tests of their own are shared.',
    ),
    only(
      'native-plane-is-an-adapter',
      inRoom('dataplane/native'),
      ['^src/base/', SEAM],
      'Loading the addon is an adapter behind the seam; policy belongs to the protocol.',
    ),
    only(
      'service-imports-the-addon-alone',
      inRoom('service'),
      ['^src/base/', '^src/dataplane/native/addon\\.ts$'],
      'What processes do alike: tell the service manager, and why they could not start, log, listen, lock a directory. The one thing it needs of the system is in the addon, whose loader knows nothing of planes; more than that and each process would depend on the others through it.',
    ),
    only(
      'path-imports-base',
      inRoom('path'),
      ['^src/base/', PROVIDER, '^src/protocol/(causes|values|reach)\\.ts$'],
      'Paths are found and chosen without knowing what rides on them. They speak of candidates and causes in the words of the wire.',
    ),
    only(
      'protocol-imports-base',
      inRoom('protocol'),
      ['^src/base/'],
      'Wire schemas are shared by every process; they must not pull in any one of them.',
    ),
    only(
      'mesh-is-the-facade',
      inRoom('mesh'),
      ['^src/(base|noise|wireguard|path|protocol)/', PROVIDER, SEAM],
      "The mesh engine joins wireguard and path and stays sans-IO; sockets and files are the daemon's.",
    ),
    only(
      'link-is-the-control-channel',
      inRoom('link'),
      ['^src/(base|crypto|noise|mesh|protocol|service)/'],
      'Every member of a network speaks to the controller alike, be it a node or a relay: the channel over a socket is a room of its own, which knows neither tunnels nor planes.',
    ),
    only(
      'daemon-imports-no-other-process',
      inRoom('daemon'),
      ['^src/(base|crypto|noise|wireguard|path|mesh|protocol|dataplane|link|service)/'],
      'controller, relay and daemon are processes on different machines: they share protocol, never code of one another; the CLI and the simulator are not theirs to use.',
    ),
    only(
      'controller-imports-no-other-process',
      inRoom('controller'),
      ['^src/(base|crypto|noise|path|protocol|service)/'],
      'controller, relay and daemon are processes on different machines: they share protocol, never code of one another.',
    ),
    only(
      'relay-imports-no-other-process',
      inRoom('relay'),
      ['^src/(base|crypto|noise|wireguard|mesh|protocol|dataplane|link|service)/'],
      'controller, relay and daemon are processes on different machines: they share protocol, never code of one another. A relay is an engine without a tunnel address, and a member of the network.',
    ),
    only(
      'cli-imports-base-and-protocol',
      inRoom('cli'),
      ['^src/(base|protocol)/', entryOf('daemon|controller|relay')],
      "The person's side speaks to the daemon over its API, so that it starts fast and works against any version. The exception are commands that are a process: they load its main.ts.",
    ),
    {
      name: 'cli-loads-processes-lazily',
      comment:
        '`warren status` must not load the engine: a command that becomes a process imports its main.ts with import().',
      severity: 'error',
      from: { path: inRoom('cli') },
      to: { path: entryOf('daemon|controller|relay'), dynamic: false, dependencyTypesNot: ['type-only'] },
    },
    only(
      'web-imports-base-and-protocol',
      '^web/',
      ['^src/(base|protocol)/'],
      'The dashboard runs in a browser: pure rooms alone, and only what goes over the wire.',
    ),
    only(
      'sim-drives-pure-rooms',
      inRoom('sim'),
      [
        '^src/(base|noise|wireguard|path|mesh|protocol|controller/state|dataplane/reference)/',
        '^src/crypto/',
        SEAM,
        '^src/relay/engine/',
      ],
      'A simulation is exact because everything in it is pure: the same engines, over a seeded network and virtual time.',
    ),
    {
      name: 'sim-is-for-tests',
      comment: 'Only test/ and bench/ import the simulator; the product does not ship on it.',
      severity: 'error',
      from: { pathNot: ['^src/sim/', '^(test|bench)/'] },
      to: { path: '^src/sim/' },
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    // Imports of types count: a type that leaks a room is a dependency of the reader.
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|build|build-[^/]*)/' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.mjs', '.js', '.cjs', '.json', '.node'],
    },
    skipAnalysisNotInRules: true,
    reporterOptions: { text: { highlightFocused: true } },
  },
};
