// The daemon's own problems in words: what happened, why, what to do next. Those of the controller come with their words; here
// they only get a place. Secrets never stand in them.

import type { ControlProblem, ControlStatus } from '../../mesh/control-status.ts';
import type { Problem } from '../../protocol/local-api.ts';
import { type Collision, describeCollision } from '../os/collisions.ts';

/** Nodes and controller must agree this well for certificates and expiries; also what status warns beyond. */
export const CLOCK_OFF_MS = 300_000;

export function notConfigured(): Problem {
  return {
    code: 'notConfigured',
    message: 'this machine belongs to no network',
    why: 'it has not joined one, or has left it',
    help: "join one: warren up --join LINK; the link comes from the controller's machine: warren keys create",
  };
}

export function badJoinLink(reason: string): Problem {
  return {
    code: 'badJoinLink',
    message: 'this is not a join link',
    why: reason,
    help: 'copy the whole line that warren keys create printed, in quotes, from warren:// to its end',
  };
}

export function otherNetwork(url: string): Problem {
  return {
    code: 'badJoinLink',
    message: 'this machine belongs to another network already',
    why: `it is a member of the network of ${url}, and the link is for another controller`,
    help: 'leave that one first: warren logout; or run a second daemon with --state, --socket and --tun of its own',
  };
}

export function linkWithoutSecret(): Problem {
  return {
    code: 'badJoinLink',
    message: 'this join link lets nobody in',
    why: 'it has no secret (auth=…), so it is only good for a machine that is a member already',
    help: "ask for a new link; on the controller's machine: warren keys create",
  };
}

/** `waited`: why the controller has not answered. The machine is connected all the same, by the netmap that it has. */
export function linkNotUsed(waited: Problem): Problem {
  return {
    ...waited,
    message: 'the join link has not been used: the controller has not answered',
    why: waited.why ?? waited.message,
    help: 'the daemon goes on trying; warren up without --join connects with what is saved of this network',
  };
}

export function fromControl(problem: ControlProblem): Problem {
  return { code: problem.code, message: problem.message, why: null, help: problem.help };
}

/** Why there is no connection, or null when one is there or still on its way. */
export function connectionProblem({ lastError, state, problem }: ControlStatus): Problem | null {
  if (lastError === null || state === 'connected') return null;
  // It was reached, and said no: that is told already.
  if (problem !== null && problem.code === lastError.code) return null;
  if (lastError.code === 'keyMismatch') {
    return {
      code: 'controllerKeyMismatch',
      message: 'what answers is not the controller of this network',
      why: lastError.message,
      help: 'compare the address with where the controller runs; if it was made anew, join it with a new link',
    };
  }
  return {
    code: 'controllerUnreachable',
    message: 'the controller cannot be reached',
    why: lastError.message,
    help: 'see that it runs and that this machine gets through to it; the daemon goes on trying',
  };
}

export function collisionProblem(collision: Collision): Problem {
  return {
    code: 'prefixCollision',
    message: `the network's address range ${collision.prefix} is in use on this machine already`,
    why: `${describeCollision(collision)}: one of the two would be unreachable, so nothing was changed here`,
    help: 'take that away, or make the network with other ranges: warren controller --network CIDR4,CIDR6',
  };
}

export function networkUnfit(prefix: string, why: string): Problem {
  return {
    code: 'networkUnfit',
    message: `the controller says that the network is ${prefix}, which cannot be`,
    why: `${why}; nothing was changed here`,
    help: 'ask whoever runs the controller; warren logout takes this machine out of its network',
  };
}

export function clockOff(skewMs: number): Problem {
  const minutes = Math.round(Math.abs(skewMs) / 60_000);
  return {
    code: 'clockOff',
    message: `the clock of this machine is ${minutes} minutes ${skewMs > 0 ? 'ahead of' : 'behind'} the controller's`,
    why: 'expiries are told by the clock, and certificates are refused when it is far off',
    help: 'set it: timedatectl set-ntp true',
  };
}

export function timedOut(seconds: number, waitingFor: string): Problem {
  return {
    code: 'timeout',
    message: `not connected after ${seconds} s`,
    why: waitingFor,
    help: 'the daemon goes on trying: warren status --watch',
  };
}

export function tunUnavailable(why: string, code: 'tunUnavailable' | 'permission'): Problem {
  return { code, message: 'the tunnel interface cannot be made', why, help: null };
}

export function portInUse(port: number): Problem {
  return {
    code: 'portInUse',
    message: `UDP port ${port} is in use`,
    why: 'another program has it',
    help: 'stop that one, or start the daemon with another --port (0 = any that is free)',
  };
}

export function cannotBind(port: number, errno: string): Problem {
  if (errno === 'EADDRINUSE') return portInUse(port);
  return {
    code: errno === 'EACCES' || errno === 'EPERM' ? 'permission' : 'internal',
    message: `the UDP sockets of the tunnel cannot be opened on port ${port}`,
    why: errno,
    help: errno === 'EACCES' ? 'ports below 1024 need CAP_NET_BIND_SERVICE' : 'see the log of the daemon',
  };
}

export function interfaceProblem(step: string, errno: string): Problem {
  const permission = errno === 'EPERM' || errno === 'EACCES';
  return {
    code: permission ? 'permission' : 'internal',
    message: 'the tunnel interface cannot be configured',
    why: `${step}: ${errno}`,
    help: permission ? 'the daemon needs CAP_NET_ADMIN: run it as root' : 'see the log of the daemon; it tries again',
  };
}

export function rotating(): Problem {
  return {
    code: 'badRequest',
    message: 'the key is being replaced already',
    why: 'the controller has not answered yet',
    help: 'wait a moment: warren status shows the public key',
  };
}

export function notRotated(): Problem {
  return {
    code: 'timeout',
    message: 'the key was not replaced',
    why: 'the controller did not take the new one in time; the old one stays in use',
    help: 'see that the controller is connected (warren status) and try again',
  };
}

export function ipv6Unavailable(): Problem {
  return {
    code: 'ipv6Unavailable',
    message: 'the mesh is reached over IPv4 alone on this machine',
    why: 'IPv6 is switched off here, so the interface has no address of that family',
    help: 'switch it on for new interfaces: sysctl net.ipv6.conf.default.disable_ipv6=0; then: warren down && warren up',
  };
}

export function unknownPeer(name: string, near: readonly string[]): Problem {
  return {
    code: 'unknownPeer',
    message: `there is no peer ${JSON.stringify(name)}`,
    why:
      near.length === 0 ? 'no name, address, public key or id in this network is that' : `near it: ${near.join(', ')}`,
    help: 'all peers: warren status',
  };
}

export function ambiguousPeer(name: string, names: readonly string[]): Problem {
  return {
    code: 'ambiguousPeer',
    message: `${JSON.stringify(name)} may be several peers`,
    why: `these begin with it: ${names.join(', ')}`,
    help: 'write more of the name, or an address',
  };
}

export function ourselves(name: string): Problem {
  return {
    code: 'unknownPeer',
    message: `${name} is this machine`,
    why: 'there is no tunnel to oneself',
    help: 'name another one: warren status',
  };
}
