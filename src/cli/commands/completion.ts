// `warren completion bash|zsh|fish`: a completion script, made from the table of commands: their names, subcommands and options.
// An option or argument that is a file or a directory completes as one. Static: pressing Tab starts no process.

import { type Command, EXIT_DONE, parseArguments, UsageError } from '../command.ts';
import { oneArgument } from '../positionals.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;

/** `commands`: asked when it runs, because the table holds this command too. */
export function completionCommand(commands: () => readonly Command[]): Command {
  return {
    name: 'completion',
    summary: 'Print a completion script for bash, zsh or fish.',
    usage: 'completion bash|zsh|fish',
    details: `bash:  warren completion bash > /etc/bash_completion.d/warren
zsh:   warren completion zsh > "\${fpath[1]}/_warren"
fish:  warren completion fish > ~/.config/fish/completions/warren.fish

Exit code: 0, 2 for wrong arguments.`,
    options: [{ form: '-h, --help', text: 'this help' }],
    run: (args, io) => {
      const { positionals } = parseArguments(args, {});
      const shell = oneArgument('name the shell: bash, zsh or fish', positionals);
      const words = flatten([], commands());
      switch (shell) {
        case 'bash':
          io.out(bash(words));
          return EXIT_DONE;
        case 'zsh':
          io.out(zsh(words));
          return EXIT_DONE;
        case 'fish':
          io.out(fish(words));
          return EXIT_DONE;
        default:
          throw new UsageError(`there is no completion for ${JSON.stringify(shell)}, but for ${SHELLS.join(', ')}`);
      }
    },
  };
}

interface Flag {
  /** `--json`, `-h`. */
  readonly names: readonly string[];
  readonly value: 'none' | 'word' | 'file' | 'directory';
  readonly text: string;
}

/** One place in a command line: the words that lead there, and what may follow. */
interface Place {
  readonly path: readonly string[];
  readonly subcommands: readonly { readonly name: string; readonly summary: string }[];
  readonly flags: readonly Flag[];
  /** An argument of the command is a file. */
  readonly files: boolean;
}

function flatten(path: readonly string[], commands: readonly Command[]): Place[] {
  return commands.flatMap((command) => {
    const here = [...path, command.name];
    const subcommands = command.subcommands ?? [];
    const files = / FILE\b/.test(command.usage.replace(/\[.*?\]/g, ''));
    return [{ path: here, subcommands, flags: command.options.map(flagOf), files }, ...flatten(here, subcommands)];
  });
}

/** `-f, --foreground`, `--data DIR`. */
function flagOf({ form, text }: { readonly form: string; readonly text: string }): Flag {
  const names = form.match(/(?<![^\s,])--?[a-z][a-z0-9-]*/g) ?? [];
  const value = /\s([A-Z][A-Z0-9:]*)/.exec(form)?.[1] ?? null;
  const kinds: Readonly<Record<string, Flag['value']>> = { DIR: 'directory', FILE: 'file', F: 'file', PATH: 'file' };
  return { names, value: value === null ? 'none' : (kinds[value] ?? 'word'), text };
}

function topNames(places: readonly Place[]): string[] {
  return [...places.filter(({ path }) => path.length === 1).map(({ path }) => path[0] as string), 'help'];
}

function wordsOf(place: Place): string[] {
  return [...place.subcommands.map(({ name }) => name), ...place.flags.flatMap(({ names }) => names)];
}

// — bash —

function bash(places: readonly Place[]): string {
  const cases = places.map(
    (place) => `    ${JSON.stringify(place.path.join(' '))}) words=${bashQuote(wordsOf(place))} ;;`,
  );
  const isPath = places
    .filter((place) => place.subcommands.length > 0)
    .map(({ path }) => JSON.stringify(path.join(' ')));
  const withFiles = places.filter(({ files }) => files).map(({ path }) => JSON.stringify(path.join(' ')));
  return `# bash completion for warren; made by: warren completion bash
_warren() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} path= word words i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    case $word in
      ${valueNames(places, 'directory', 'file', 'word').join('|')}) ((i++)); continue ;;
      -*) continue ;;
    esac
    if [[ -z $path ]]; then
      [[ $word == help ]] && continue
      path=$word
    else
      case $path in
${isPath.length === 0 ? '        *) break ;;' : `        ${isPath.join('|')}) ;;\n        *) break ;;`}
      esac
      _warren_has "$path $word" || break
      path="$path $word"
    fi
  done
  case $prev in
${bashValues(places)}  esac
  case $path in
    "") words=${bashQuote(topNames(places))} ;;
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  case $path in
${withFiles.length === 0 ? '' : `    ${withFiles.join('|')}) [[ $cur == -* ]] || COMPREPLY+=($(compgen -f -- "$cur")) ;;\n`}  esac
}
_warren_has() {
  case $1 in
    ${places
      .filter(({ path }) => path.length > 1)
      .map(({ path }) => JSON.stringify(path.join(' ')))
      .join('|')}) return 0 ;;
  esac
  return 1
}
complete -o filenames -F _warren warren
`;
}

/** What follows an option that takes a value. */
function bashValues(places: readonly Place[]): string {
  const actions = {
    directory: 'COMPREPLY=($(compgen -d -- "$cur"))',
    file: 'COMPREPLY=($(compgen -f -- "$cur"))',
    word: ':',
  } as const;
  return (['directory', 'file', 'word'] as const)
    .map((kind) => [valueNames(places, kind), actions[kind]] as const)
    .filter(([names]) => names.length > 0)
    .map(([names, action]) => `    ${names.join('|')}) ${action}; return ;;\n`)
    .join('');
}

/** Options, of any command, whose value is of one of these kinds. */
function valueNames(places: readonly Place[], ...kinds: readonly Flag['value'][]): string[] {
  const flags = places.flatMap((place) => place.flags).filter(({ value }) => kinds.includes(value));
  return [...new Set(flags.flatMap(({ names }) => names))];
}

function bashQuote(words: readonly string[]): string {
  return `"${words.join(' ')}"`;
}

// — zsh —

function zsh(places: readonly Place[]): string {
  const top = places.filter(({ path }) => path.length === 1);
  const functions = places.map((place) => zshFunction(place)).join('\n');
  const names = top.map(({ path }) => `    ${path[0]}) ${zshName(path)} ;;`).join('\n');
  return `#compdef warren
# zsh completion for warren; made by: warren completion zsh
${functions}
_warren() {
  local context state state_descr line
  typeset -A opt_args
  _arguments -C '1:command:(${topNames(places).join(' ')})' '*::argument:->rest' && return 0
  [[ $state == rest ]] || return 1
  case $line[1] in
${names}
  esac
}
_warren "$@"
`;
}

function zshFunction(place: Place): string {
  const specs = place.flags.flatMap((flag) => flag.names.map((name) => `    ${zshQuote(zshSpec(name, flag))}`));
  if (place.subcommands.length === 0) {
    const rest = place.files ? `    '*:file:_files'` : `    '*:argument:'`;
    return `${zshName(place.path)}() {\n  _arguments ${['\\', [...specs, rest].join(' \\\n')].join('\n')}\n}`;
  }
  const names = place.subcommands.map(({ name }) => name);
  const cases = names.map((name) => `    ${name}) ${zshName([...place.path, name])} ;;`).join('\n');
  const rest = [`    '1:command:(${names.join(' ')})'`, `    '*::argument:->rest'`];
  return `${zshName(place.path)}() {
  local context state state_descr line
  typeset -A opt_args
  _arguments -C ${['\\', [...specs, ...rest].join(' \\\n')].join('\n')} && return 0
  [[ $state == rest ]] || return 1
  case $line[1] in
${cases}
  esac
}`;
}

function zshSpec(name: string, flag: Flag): string {
  const text = flag.text.replaceAll(/[[\]:]/g, ' ');
  const value = { none: '', word: ':value:', file: ':file:_files', directory: ':directory:_files -/' }[flag.value];
  return `${flag.value === 'none' ? '' : '*'}${name}[${text}]${value}`;
}

function zshName(path: readonly string[]): string {
  return `_warren_${path.join('_').replaceAll('-', '_')}`;
}

function zshQuote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// — fish —

function fish(places: readonly Place[]): string {
  const lines = ['# fish completion for warren; made by: warren completion fish', 'complete -c warren -f'];
  for (const place of places) {
    const [name] = place.path;
    const parent = place.path.slice(0, -1);
    if (parent.length === 0) lines.push(`complete -c warren -n __fish_use_subcommand -a ${name}`);
    for (const { name: word, summary } of place.subcommands) {
      const others = place.subcommands.map((other) => other.name).join(' ');
      const when = `${seen(place.path)}; and not __fish_seen_subcommand_from ${others}`;
      lines.push(`complete -c warren -n '${when}' -a ${word} -d ${fishQuote(summary)}`);
    }
    for (const flag of place.flags) lines.push(`complete -c warren -n '${seen(place.path)}' ${fishFlag(flag)}`);
    if (place.files) lines.push(`complete -c warren -n '${seen(place.path)}' -F`);
  }
  return `${lines.join('\n')}\n`;
}

function seen(path: readonly string[]): string {
  return path.map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ');
}

function fishFlag(flag: Flag): string {
  const names = flag.names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const value = { none: '', word: ' -x', file: ' -r -F', directory: " -x -a '(__fish_complete_directories)'" }[
    flag.value
  ];
  return `${names.join(' ')}${value} -d ${fishQuote(flag.text)}`;
}

function fishQuote(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
