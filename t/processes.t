#!/usr/bin/perl

# The processes around nginx, without nginx and without a tailnet: lifelines
# and commits, listening sockets and dials of the private namespace, what
# survives the end of a core or a holder, and that nothing is left behind.
# As root and as an unprivileged user, and inside one process.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use IPC::Open2;
use Socket;
use Test::More;
use Time::HiRes qw(time sleep);

my $top = "$FindBin::Bin/..";
my $nobody = 65534;

plan skip_all => 'needs root' if $> != 0;

# a TUN device that an unprivileged user may open, for this test alone

if (!$ENV{TN_PROCESSES_MOUNTS}) {
    $ENV{TN_PROCESSES_MOUNTS} = 1;
    exec 'unshare', '-m', '--propagation', 'private', $^X, $0
        or die "unshare: $!";
}

my $build = $ENV{TN_BUILD} || 'build';
my $made = "$top/$build/t/procclient";
system('make', '-s', '-C', $top, "BUILD=$build", "$build/t/procclient",
       "$build/ngx_tailnet_super") == 0
    or die "no $made\n";

my $dir = tempdir('tn-processes-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $program = "$dir/ngx_tailnet_core";
my $super = "$dir/ngx_tailnet_super";

chmod 0755, $dir;
system("cp $made $program && cp $top/$build/ngx_tailnet_super $super"
       . " && mkdir -m 0777 $dir/user && mkdir $dir/tmpfs") == 0
    or die;

system("mount -t tmpfs none $dir/tmpfs && mknod -m 666 $dir/tmpfs/tun c 10 200"
       . " && mount --bind $dir/tmpfs/tun /dev/net/tun") == 0
    or plan skip_all => 'needs to mount a device of its own';

my @clients;
my %started;


# --- a client, which stands for one nginx master and one of its cycles

package Client;

sub new {
    my ($class, %opt) = @_;
    my @as = $opt{unprivileged}
        ? ('setpriv', "--reuid=$nobody", "--regid=$nobody", '--clear-groups')
        : ();
    my $self = bless { %opt }, $class;

    unshift @as, 'unshare', '-m', 'sh', '-c',
        'mount --bind /proc/sys /proc/sys'
        . ' && mount -o remount,bind,ro /proc/sys'
        . ' && exec setpriv --bounding-set=-net_admin "$@"', 'sh'
        if $opt{container};
    unshift @as, 'chroot', $opt{chroot} if $opt{chroot};

    $self->{pid} = IPC::Open2::open2($self->{out}, $self->{in}, @as,
                                     $program);
    $started{$self->{pid}} = 1;
    push @clients, $self;

    return $self;
}

sub say {
    my ($self, $line) = @_;

    print { $self->{in} } "$line\n";
    my $answer = readline $self->{out};
    return 'gone' if !defined $answer;

    chomp $answer;
    return $answer;
}

sub open {
    my ($self, $name, $token, $more) = @_;
    my $user = $self->{unprivileged} ? 'user/' : '';

    $self->{run} = "$dir/$user$name.tailnet";
    $self->{log} = "$dir/$user$name.log";
    $self->{state} = "$dir/$user$name.state";

    my $uid = $self->{user} || $nobody;

    return $self->say("open $self->{run} $token $uid $nobody $self->{log} "
                      . ($self->{program} || $program) . ' ' . ($more || ''));
}

sub node {
    my ($self, $name, $host) = @_;
    return $self->say("node $name $self->{state}/$name " . ($host || 'host')
                      . ' tskey-very-secret ' . ($self->{stack} || 0) . ' 0');
}

sub listen {
    my ($self, $node, $port, $worker, $family, $proto) = @_;
    my $answer = $self->say(sprintf 'listen %s %d %s %d %d', $node,
                            $family || 4, $proto || 'tcp', $port,
                            $worker || 0);
    return $answer =~ /^ok (\d+) (\d+)/ ? ($1, $2) : ($answer);
}

sub dial {
    my ($self, $node, $host, $port, $proto, $ms) = @_;
    return $self->say("dial $self->{run} $node $host $port "
                      . ($proto || 'tcp') . ' ' . ($ms || 0));
}

# dials and accepts; true when a connection came about and carries bytes
sub talk {
    my ($self, $listener, $port, $ip) = @_;

    my ($out) = $self->dial('home', $ip || '100.64.0.1', $port) =~ /^ok (\d+)/
        or return 0;
    my ($in) = $self->say("accept $listener") =~ /^ok (\d+)/ or return 0;
    my $ok = $self->say("error $out") eq 'ok 0'
        && $self->say("send $out there") eq 'ok'
        && $self->say("recv $in") eq 'ok there';

    $self->say("shut $_") for $out, $in;

    return $ok;
}

# the same, when the core may not have set the address yet
sub talk_soon {
    my ($self, @how) = @_;

    my $end = main::time() + 30;

    until ($self->talk(@how)) {
        return 0 if main::time() > $end;
        main::sleep(0.2);
    }

    return 1;
}

# sends by the TUN; the small core mirrors
sub mirror {
    my ($self, $fd) = @_;

    return $self->say("send $fd ping") eq 'ok'
        && $self->say("recv $fd") eq 'ok ping';
}

sub log_text {
    my ($self) = @_;
    CORE::open(my $fh, '<', $self->{log}) or return '';
    local $/;
    return readline $fh;
}

sub wait_log {
    my ($self, $re) = @_;
    return main::wait_until(sub { $self->log_text =~ $re });
}

sub end {
    my ($self) = @_;
    return if !$self->{pid};

    close $self->{in};
    kill 'KILL', $self->{pid} if $self->{kill};
    waitpid $self->{pid}, 0;
    delete $started{$self->{pid}};
    delete $self->{pid};
}

package main;


sub wait_until {
    my ($check, $seconds) = @_;
    my $end = time + ($seconds || 30);

    while (time < $end) {
        my $got = $check->();
        return $got if $got;
        sleep 0.02;
    }

    return $check->();
}

# processes of ours with this name and this run-time directory or node
sub find {
    my ($what, $of) = @_;
    my @found;

    for my $proc (glob '/proc/[0-9]*') {
        CORE::open(my $fh, '<', "$proc/cmdline") or next;
        my $line = do { local $/; readline $fh };
        my @arg = split /\0/, defined $line ? $line : '';
        next if @arg < 3 || $arg[0] !~ /^ngx_tailnet_(?:core|super)$/;
        next if $arg[1] ne $what || ($of && $arg[2] ne $of);
        next if readlink("$proc/exe") !~ /^\Q$dir\E/;
        push @found, $proc =~ /(\d+)$/;
    }

    return @found;
}

sub slurp {
    my ($path) = @_;
    CORE::open(my $fh, '<', $path) or return '';
    local $/;
    return readline $fh;
}

sub pid_of {
    my ($what, $of) = @_;

    # between fork and exec a child looks like its parent

    return wait_until(sub {
        my @found = find($what, $of);
        return @found == 1 ? $found[0] : 0;
    }) || die "not one process: $what $of\n";
}

sub nothing_left {
    my ($run) = @_;
    return wait_until(sub {
        !-e $run && !find('super', $run) && !find('core', $run)
            && !find('guard', $run)
            && !find('holder')
    });
}


# --- the same for root and for an unprivileged user

sub life {
    my ($unprivileged) = @_;
    my $c = Client->new(unprivileged => $unprivileged);

    like($c->open('life', 'a'), qr/^ok \d+ 1$/, 'the supervisor starts');
    is($c->node('home'), 'ok', 'a node gets its namespace');

    my ($tcp4) = $c->listen('home', 80);
    my ($tcp6) = $c->listen('home', 80, 0, 6);
    my ($udp4) = $c->listen('home', 53, 0, 4, 'udp');
    like("$tcp4 $tcp6 $udp4", qr/^\d+ \d+ \d+$/, 'listening sockets');

    my ($ns) = $c->say("netns $tcp4") =~ /^ok (\d+)/;
    isnt("net:[$ns]", readlink('/proc/self/ns/net'),
         'they are in a namespace of their own');
    is($c->say("netns $udp4"), "ok $ns", 'all in the same');

    ok(!find('core', $c->{run}), 'no core before the commit');
    is($c->say('commit'), 'ok', 'commit');

    ok($c->talk_soon($tcp4, 80), 'a dialled connection by IPv4')
        or diag($c->log_text);
    ok($c->talk($tcp6, 80, 'fd7a:115c:a1e0::1'), 'and by IPv6');

    my ($udp) = $c->dial('home', '100.64.0.2', 7, 'udp') =~ /^ok (\d+)/;
    ok($c->mirror($udp), 'packets go out and in by the TUN');

    is($c->dial('home', 'nosuch', 80), 'fail -6 113 no peer "nosuch"',
       'an unknown peer');
    is($c->dial('away', '100.64.0.2', 80), 'fail -6 22 no node "away"',
       'an unknown node');
    is($c->dial('home', 'later', 80, 'tcp', 200),
       'fail -1 110 the node is starting', 'a node that does not come up');

    my $core = pid_of('core', $c->{run});
    my $status = slurp("/proc/$core/status");
    like($status, qr/^Uid:\s+$nobody\s+$nobody\s+$nobody\s/m,
         'the core runs as nginx\'s user');
    like($status, qr/^CapEff:\s+0+$/m, 'without capabilities');
    like($status, qr/^NoNewPrivs:\s+1$/m, 'for good');
    like($status, qr/^Name:\s+tailnet-core$/m, 'and has a name');

    my $holder = pid_of('holder', 'home');
    $status = slurp("/proc/$holder/status");
    like($status, qr/^CapEff:\s+0+1000$/m,
         'the holder has CAP_NET_ADMIN alone');

    my @st = stat "$c->{run}/dial.sock";
    is(sprintf('%o %d', $st[2] & 07777, $st[4]), "600 $nobody", 'dial.sock');
    @st = stat $c->{run};
    is(sprintf('%o', $st[2] & 07777), '711', 'the run-time directory');
    @st = stat "$c->{state}/home";
    is(sprintf('%o %d', $st[2] & 07777, $st[4]), "700 $nobody",
       'the state directory');

    # the core dies

    my ($out) = $c->dial('home', '100.64.0.1', 80) =~ /^ok (\d+)/;
    my ($in) = $c->say("accept $tcp4") =~ /^ok (\d+)/;

    kill 'KILL', $core;
    # one that the dying core took is to be repeated, as the glue does
    ok($c->talk_soon($tcp4, 80), 'a dial without a core waits for the next');
    my $new = wait_until(sub {
        my ($pid) = grep { $_ != $core } find('core', $c->{run});
        return $pid;
    });
    my ($pause) = $c->log_text
        =~ /core process $core ended .*a new one starts in (\d+) ms/;

    ok($new, 'a new core');
    cmp_ok($pause // 1e9, '<', 1000, 'started within a second');
    ok($c->say("send $out still") eq 'ok'
       && $c->say("recv $in") eq 'ok still', 'connections survive it');
    ok($c->talk($tcp4, 80), 'listeners and dials too');
    ok(wait_until(sub { $c->mirror($udp) }), 'the TUN too');

    # the holder dies

    kill 'KILL', $holder;
    $new = wait_until(sub {
        my ($pid) = grep { $_ != $holder } find('holder', 'home');
        return $pid;
    });

    ok($new, 'a new holder');
    ok($c->wait_log(qr/small core: new holder/), 'the core is told');
    ok($c->say("send $out again") eq 'ok'
       && $c->say("recv $in") eq 'ok again', 'connections survive it');
    ok($c->mirror($udp), 'the TUN too');

    my $d = Client->new(unprivileged => $unprivileged);
    like($d->open('life', 'b'), qr/^ok \d+ 0$/, 'another nginx');
    is($d->node('home'), 'ok', 'with this node');
    my ($more) = $d->listen('home', 81);
    is($d->say("netns $more"), "ok $ns",
       'new sockets are in the same namespace');
    ok($d->talk($more, 81), 'and work');
    $d->end;

    # more dials than the store of sockets holds

    my $good = 0;

    for (1 .. 100) {
        my ($fd) = $c->dial('home', '100.64.0.1', 80) =~ /^ok (\d+)/;
        $good += defined $fd;
        $c->say("shut $fd") if defined $fd;
    }

    is($good, 100, 'sockets for many dials');

    unlike($c->log_text, qr/tskey-very-secret/, 'no key in the log');

    my $super = pid_of('super', $c->{run});
    ok(!grep({ slurp("$_/stat") =~ /\) Z $super / } glob('/proc/[0-9]*')),
       'no zombies');

    is($c->say('close'), 'ok', 'the last lifeline closes');
    ok(nothing_left($c->{run}), 'processes and directory are gone');

    $c->end;

    ok(!grep({ (readlink("$_/ns/net") || '') eq "net:[$ns]" }
             glob('/proc/[0-9]*')), 'nobody is in the namespace');
}


subtest 'as root' => sub { life(0) };
subtest 'as an unprivileged user' => sub { life(1) };

# A container that has been given SYS_ADMIN, and not NET_ADMIN, and whose
# /proc/sys is read-only.

subtest 'as root of a container' => sub {
    my $c = Client->new(container => 1);

    like($c->open('half', 'a'), qr/^ok \d+ 1$/, 'the supervisor starts');
    is($c->node('home'), 'ok', 'a node gets its namespace');

    my ($tcp) = $c->listen('home', 80);
    is($c->say('commit'), 'ok', 'commit');
    ok($c->talk_soon($tcp, 80), 'a connection in it')
        or diag($c->log_text);

    kill('KILL', pid_of('holder', 'home'));
    ok($c->wait_log(qr/small core: new holder/), 'its holder is replaced');

    my $status = slurp('/proc/' . pid_of('holder', 'home') . '/status');
    like($status, qr/^CapEff:\s+0+1400$/m,
         'it has CAP_NET_ADMIN and CAP_NET_BIND_SERVICE alone');

    my $d = Client->new(container => 1);
    $d->open('half', 'b');
    $d->node('home');
    like(($d->listen('home', 443))[0], qr/^\d+$/, 'and binds to low ports');
    $d->end;

    is($c->say('close'), 'ok', 'the last lifeline closes');
    ok(nothing_left($c->{run}), 'processes and directory are gone');
    $c->end;
};


# --- cycles and masters

subtest 'lifelines' => sub {
    my $one = Client->new;
    my $two = Client->new;
    my $new = Client->new;

    like($one->open('cycles', 'm1'), qr/^ok (\d+) 1$/, 'first cycle');
    is($one->node('home', 'first'), 'ok', 'its node');
    is($one->node('gone', 'first'), 'ok', 'another node');

    my ($fd0, $ino0) = $one->listen('home', 80, 0);
    my ($fd1, $ino1) = $one->listen('home', 80, 1);
    isnt($ino0, $ino1, 'clones of reuseport are different sockets');

    is($one->say('commit'), 'ok', 'committed');
    ok($one->wait_log(qr/small core: node gone/), 'the core runs both nodes');

    # workers have the lifeline by now

    like($one->node('home', 'taken'), qr/^fail -4 this cycle is committed/,
         'which takes no other configuration any more');
    like(join(' ', $one->listen('home', 82)), qr/^fail -4 /, 'no listener');
    like($one->say('commit'), qr/^fail -4 /, 'and no commit');

    like($two->open('cycles', 'm1'), qr/^ok \d+ 0$/, 'a reload joins');
    is($two->node('home', 'second'), 'ok', 'with another configuration');

    my ($same, $ino) = $two->listen('home', 80, 0);
    is($ino, $ino0, 'the same socket again');
    unlike($one->log_text, qr/"second"/, 'not in force before the commit');

    is($two->say('commit'), 'ok', 'committed');
    ok($one->wait_log(qr/node home mask 1?239 hostname "second"/), 'now it is');

    # the socket of worker 1 is closed here, but in nobody else's hands

    $one->say("shut $_") for $fd0, $fd1;
    is(scalar(grep { $two->talk($same, 80) } 1 .. 20), 20,
       'no connection is lost to a clone that was dropped');

    unlike($one->log_text, qr/stopped gone/,
           'a node stays while an old cycle lives');
    is($one->say('close'), 'ok', 'the old cycle ends');
    ok($one->wait_log(qr/small core: stopped gone/), 'and its node');
    unlike($one->log_text, qr/"taken"/, 'what it asked for at last never was');

    # a new binary, which gives up

    like($new->open('cycles', 'm2'), qr/^ok \d+ 0$/, 'another master');
    is($new->node('home', 'third'), 'ok', 'with its configuration');
    ($fd0, $ino) = $new->listen('home', 80, 0);
    is($ino, $ino0, 'has the same socket');
    is($new->say('commit'), 'ok', 'committed');
    ok($one->wait_log(qr/hostname "third"/), 'in force');
    ok($new->talk($fd0, 80), 'both masters');
    ok($two->talk($same, 80), 'have the socket');
    is($new->say('close'), 'ok', 'it gives up');
    ok(wait_until(sub {
        (my @all = $one->log_text =~ /hostname "second"/g) == 2
    }), 'the configuration before is in force again');

    # a reload that fails

    like($one->open('cycles', 'm1'), qr/^ok \d+ 0$/, 'a reload');
    is($one->node('home', 'fourth'), 'ok', 'another configuration');
    is($one->node('fresh', 'fourth'), 'ok', 'another node');
    like(join(' ', $one->listen('fresh', 80)), qr/^\d+ \d+$/, 'with a socket');
    is($one->say('close'), 'ok', 'it fails');
    ok(wait_until(sub { !find('holder', 'fresh') }), 'its node is gone');
    unlike($one->log_text, qr/"fourth"/, 'its configuration never was there');

    # a master that is killed

    $two->{kill} = 1;
    $two->end;
    ok(nothing_left($two->{run}), 'nothing is left of a killed master');
    $_->end for $one, $new;
};


subtest 'a worker that was taken over' => sub {
    my $c = Client->new;

    $c->open('taken', 'm1');
    is($c->node('home'), 'ok', 'a node');
    is($c->say('commit'), 'ok', 'committed');

    my $super = pid_of('super', $c->{run});
    my $core = pid_of('core', $c->{run});

    is($c->say('spoil'), 'ok', 'whatever a worker does to what it has');
    sleep 1.5;
    is(join(' ', find('super', $c->{run}), find('core', $c->{run})),
       "$super $core", 'the tailnet goes on');

    # the supervisor that follows knows by what it lives

    kill 'KILL', $super;
    ok(wait_until(sub {
        my ($now) = find('super', $c->{run});
        return $now && $now != $super;
    }), 'with another supervisor');
    is($c->say('spoil'), 'ok', 'once more');
    sleep 1.5;
    is(join(' ', find('core', $c->{run})), $core, 'it goes on');

    is($c->say('close'), 'ok', 'nginx ends');
    ok(nothing_left($c->{run}), 'and all with it');
    $c->end;
};


# A new binary of nginx finds the supervisor of the old one, and must not take
# it for one that ends just now.

subtest 'a client of another version' => sub {
    my $c = Client->new;

    $c->open('versions', 'm1');

    socket my $s, AF_UNIX, SOCK_SEQPACKET, 0 or die;
    connect $s, pack_sockaddr_un("$c->{run}/super.sock") or die;
    send $s, pack('LSSLL', 0x746e6970, 0, 2, 16, 1), 0 or die;

    my $rin = '';
    vec($rin, fileno $s, 1) = 1;
    select $rin, undef, undef, 5;
    recv $s, my $answer, 4096, Socket::MSG_DONTWAIT();
    is((unpack 'L', $answer // '')[0], 0x746e6970, 'gets an answer');
    recv $s, $answer, 4096, Socket::MSG_DONTWAIT() or $answer = '';
    is($answer, '', 'and no more');

    close $s;
    $c->end;
    ok(nothing_left($c->{run}), 'all is gone');
};


subtest 'a supervisor without descriptors' => sub {
    my $c = Client->new;

    $c->open('full', 'm1');
    is($c->node('home'), 'ok', 'a node');
    is($c->say('commit'), 'ok', 'committed');

    my $super = pid_of('super', $c->{run});
    my $free;

    ok($c->wait_log(qr/small core: node home/), 'the core runs');
    wait_until(sub {
        my $was = $free;
        ($free) = grep { !-e "/proc/$super/fd/$_" } 0 .. 1000;
        sleep 0.3;
        return defined $was && $was == $free;
    });

    my $cpu = sub {
        my @of = split / /, slurp("/proc/$super/stat") =~ s/.*\) //sr;
        return $of[11] + $of[12];
    };

    is(system('prlimit', "--pid=$super", "--nofile=$free:"), 0, 'has none');

    socket my $s, AF_UNIX, SOCK_SEQPACKET, 0 or die;
    connect $s, pack_sockaddr_un("$c->{run}/super.sock") or die;
    ok($c->wait_log(qr/supervisor: accept4\(\) failed \(24: /), 'says so');

    my $begin = $cpu->();
    sleep 0.5;
    cmp_ok($cpu->() - $begin, '<', 10, 'and waits');

    is(system('prlimit', "--pid=$super", '--nofile=1000:'), 0,
       'has some again');

    my $d = Client->new;
    like($d->open('full', 'm1'), qr/^ok \d+ 0$/, 'another cycle');

    close $s;
    $_->end for $d, $c;
    ok(nothing_left($c->{run}), 'all is gone');
};


# --- starting, at the same time and after accidents

subtest 'start' => sub {
    my @race = map { Client->new } 1 .. 6;
    my $n = 0;

    for my $c (@race) {
        my $run = "$dir/race.tailnet";
        @{$c}{qw(run log state)} = ($run, "$dir/race.log", "$dir/race.state");
        print { $c->{in} } "open $run r$n $nobody $nobody $dir/race.log "
            . "$program\n";
        $n++;
    }

    my @pids = map { my $l = readline $_->{out}; $l =~ /^ok (\d+)/ ? $1 : $l }
               @race;
    is(scalar(grep { $_ eq $pids[0] } @pids), 6,
       'six at once find one supervisor');

    # those that came too late are told so before they end
    ok(wait_until(sub { find('super', "$dir/race.tailnet") == 1 }),
       'there is one');

    # with its guard, a supervisor is gone for good

    kill 'KILL', find('guard', "$dir/race.tailnet"), $pids[0];
    ok(wait_until(sub { !find('super', "$dir/race.tailnet") }), 'killed');
    ok(-S "$dir/race.tailnet/super.sock", 'its socket is left');

    $_->say('close') for @race;
    like($race[0]->open('race', 'r0'), qr/^ok (\d+) 1$/, 'replaced');
    is($race[0]->node('home'), 'ok', 'works');
    is($race[0]->say('commit'), 'ok', 'as before');
    pid_of('core', "$dir/race.tailnet");
    kill 'KILL', find('guard', "$dir/race.tailnet"),
        pid_of('super', "$dir/race.tailnet");
    ok(wait_until(sub { !find('core', "$dir/race.tailnet")
                        && !find('holder', 'home') }),
       'core and holder end with a supervisor that is killed');

    $race[0]->say('close');
    like($race[0]->open('race', 'r0'), qr/^ok (\d+) 1$/, 'and again');
    is($race[0]->node('home'), 'ok', 'works');
    is($race[0]->say('commit'), 'ok', 'as before');

    # alone, it is followed by another, and nginx does not notice

    my ($killed, $running) = (pid_of('super', "$dir/race.tailnet"),
                              pid_of('core', "$dir/race.tailnet"));

    # an answer after a core's start means that it was saved
    like($race[3]->open('race', 'r0'), qr/^ok \d+ 0$/, 'a reload');
    $race[3]->say('close');
    kill 'KILL', $killed;
    ok(wait_until(sub {
        my ($super) = find('super', "$dir/race.tailnet");
        return $super && $super != $killed;
    }), 'a killed supervisor is followed by another');
    sleep 1.5;
    ok(wait_until(sub { find('super', "$dir/race.tailnet") == 1 }),
       'the lifeline goes on');
    like($race[3]->open('race', 'r0'), qr/^ok \d+ 0$/, 'a reload joins');
    is($race[3]->node('home'), 'ok', 'with its node');
    is($race[3]->say('commit'), 'ok', 'and is obeyed');
    is($race[3]->say('close'), 'ok', 'for a while');
    is(pid_of('core', "$dir/race.tailnet"), $running, 'the core went on')
        or diag($race[0]->log_text);

    kill 'KILL', $running;
    ok(wait_until(sub {
        my ($core) = find('core', "$dir/race.tailnet");
        return $core && $core != $running;
    }), 'though no child of this one, its end is noticed');

    # nginx's user is another one now

    my $core = pid_of('core', "$dir/race.tailnet");
    $race[1]->{user} = 65533;
    like($race[1]->open('race', 'r0'), qr/^ok \d+ 0$/, 'another user');
    is($race[1]->node('home'), 'ok', 'the same node');
    is($race[1]->say('commit'), 'ok', 'is committed');
    ok(wait_until(sub {
        my ($pid) = find('core', "$dir/race.tailnet");
        return $pid && $pid != $core
            && slurp("/proc/$pid/status") =~ /^Uid:\s+65533\s/m;
    }), 'the core runs as that user');
    is((stat "$dir/race.tailnet/dial.sock")[4], 65533, 'so does dial.sock');
    delete $race[1]->{user};
    $race[1]->say('close');
    ok(wait_until(sub {
        my ($pid) = find('core', "$dir/race.tailnet");
        return $pid && slurp("/proc/$pid/status") =~ /^Uid:\s+$nobody\s/m;
    }), 'and back');

    # the next nginx, while the supervisor is ending and just after

    for my $pause (0, 0.5, 1, 1.02, 1.05, 1.1, 1.2, 1.4) {
        $race[0]->say('close');
        sleep $pause;
        like($race[0]->open('race', 'r0'), qr/^ok \d+ [01]$/,
             "started again after $pause s");
        is($race[0]->node('home'), 'ok', 'with a node');
        is($race[0]->say('commit'), 'ok', 'that runs');
    }

    my $super = pid_of('super', "$dir/race.tailnet");
    kill 'INT', $super;
    kill 'HUP', $super;
    sleep 0.2;
    ok(pid_of('super', "$dir/race.tailnet") == $super,
       'SIGINT and SIGHUP are not for it');
    kill 'TERM', $super;
    ok(nothing_left("$dir/race.tailnet"), 'SIGTERM ends everything');

    # a core that hangs, a supervisor that hangs

    like($race[1]->open('race', 'r1'), qr/^ok \d+ 1$/, 'once more');
    is($race[1]->node('home'), 'ok', 'a node');
    is($race[1]->say('commit'), 'ok', 'runs');
    $super = pid_of('super', "$dir/race.tailnet");

    kill 'STOP', pid_of('core', "$dir/race.tailnet");
    kill 'STOP', $super;
    my $begin = time;
    like($race[2]->open('race', 'r2'), qr/^fail .* does not answer$/,
         'a supervisor that hangs is an error');
    cmp_ok(time - $begin, '<', 20, 'after 5 seconds');
    kill 'CONT', $super;

    $race[1]->say('close');
    ok(nothing_left("$dir/race.tailnet"), 'a core that hangs is killed');

    $_->end for @race;
};


# --- the end of a master, which waits for the supervisor's

subtest 'a master leaves' => sub {
    my ($c, $d) = map { Client->new } 1 .. 2;
    my $left = sub {
        return join ' ', grep({ -e } $c->{run}),
            map({ find($_, $c->{run}) } qw(super core)), find('holder');
    };

    for ($c, $d) {
        $_->open('leave', "m$_->{pid}");
        is($_->node('home'), 'ok', 'a node');
        is($_->say('commit'), 'ok', 'that runs');
    }

    my $core = pid_of('core', $c->{run});

    is($c->say("leave $c->{run}"), 'ok', 'one of two has nothing to wait for');
    sleep 0.5;
    is(join(' ', find('core', $c->{run})), $core, 'the core goes on');

    is($d->say("leave $c->{run}"), 'ok', 'the last one waits');
    is($left->(), '', 'until nothing is left');
    like($c->log_text, qr/small core: stopped home/, 'in order');

    is($d->say("leave $c->{run}"), 'ok', 'once is enough');

    # not the one that was started with it

    $c->open('leave', 'm1');
    is($c->node('home'), 'ok', 'a node');
    is($c->say('commit'), 'ok', 'that runs');
    pid_of('core', $c->{run});

    my $super = pid_of('super', $c->{run});

    kill 'KILL', $super;
    ok(wait_until(sub {
        my ($now) = find('super', $c->{run});
        return $now && $now != $super;
    }), 'another supervisor');
    is($c->say("leave $c->{run}"), 'ok', 'it is waited for, too');
    is($left->(), '', 'and all is gone');

    # one that hangs

    $c->open('leave', 'm1');
    is($c->node('home'), 'ok', 'a node');
    is($c->say('commit'), 'ok', 'that runs');
    $core = pid_of('core', $c->{run});
    $super = pid_of('super', $c->{run});
    kill 'STOP', $super;

    my $begin = time;

    like($c->say("leave $c->{run}"), qr/^fail .*the time is up$/,
         'a supervisor that hangs');
    cmp_ok(time - $begin, '<', 20, 'is not waited for without end');
    kill 'CONT', $super;
    ok(nothing_left($c->{run}), 'it ends later');

    $_->end for $c, $d;
};


# --- a guard that does not read is not waited for

subtest 'a slow guard' => sub {
    my ($c, $d) = map { Client->new } 1 .. 2;

    like($c->open('slow', 'm'), qr/^ok \d+ 1$/, 'the supervisor starts');
    is($c->node('home'), 'ok', 'a node');
    is($c->say('commit'), 'ok', 'that runs');

    my $super = pid_of('super', $c->{run});
    my $guard = pid_of('guard', $c->{run});

    kill 'STOP', $guard;

    for (1 .. 8) {
        $d->open('slow', 'm');
        $d->node('home');
        $d->say('commit');
        $d->say('close');
    }

    ok(wait_until(sub { grep { $_ != $guard } find('guard', $c->{run}) }),
       'another takes its place');
    kill 'CONT', $guard;
    ok(wait_until(sub { !grep { $_ == $guard } find('guard', $c->{run}) }),
       'it ends');
    is(join(' ', find('super', $c->{run})), $super,
       'and starts no second supervisor');

    $c->say('close');
    ok(nothing_left($c->{run}), 'all is gone');
    $_->end for $c, $d;
};


# --- what must be refused, with the reason

subtest 'trouble' => sub {
    my $c = Client->new(unprivileged => 1);

    mkdir "$dir/user/other.tailnet", 0755;
    like($c->open('other', 'x'), qr/^fail .*is not a directory of ours/,
         'a run-time directory of another user');
    rmdir "$dir/user/other.tailnet";

    CORE::open(my $fh, '>', "$dir/user/other.tailnet");
    like($c->open('other', 'x'), qr/^fail .*is not a directory of ours/,
         'a file in its place');
    unlink "$dir/user/other.tailnet";

    $c->{program} = '/nonexistent/core';
    like($c->open('other', 'x'),
         qr{^fail .*"/nonexistent/core".*No such file}, 'no program');
    mkdir "$dir/odd", 0755;
    system("cp $program $dir/odd/") == 0 or die;
    $c->{program} = "$dir/odd/ngx_tailnet_core";
    like($c->open('other', 'x'),
         qr{^fail .*/odd/ngx_tailnet_super".*No such file}, 'no supervisor');
    system("cp /bin/false $dir/odd/ngx_tailnet_super") == 0 or die;
    like($c->open('other', 'x'), qr/^fail .*died at its start/,
         'a program that is not ours');
    system("cp $super $dir/odd/ && ln -s odd/ngx_tailnet_core $dir/link") == 0
        or die;
    $c->{program} = "$dir/link";
    like($c->open('other', 'x'), qr/^ok \d+ 1$/, 'by a symbolic link');
    $c->end;
    ok(nothing_left("$dir/user/other.tailnet"), 'and gone');
    delete $c->{program};
    $c = Client->new(unprivileged => 1);
    rmdir "$dir/user/other.tailnet";

    my $long = 'long-' x 40;
    like($c->open($long, 'x'), qr/^ok/, 'a path longer than sun_path');
    is($c->node('home'), 'ok', 'works');
    my ($fd) = $c->listen('home', 80);
    is($c->say('commit'), 'ok', 'as any');
    ok($c->talk_soon($fd, 80), 'other');
    $c->say('close');
    ok(nothing_left($c->{run}), 'and ends');

    # no right to the TUN: nginx goes on, and it heals

    chmod 0600, '/dev/net/tun';
    $c->{stack} = 1;
    like($c->open('denied', 'x'), qr/^ok/, 'the supervisor needs no right');
    like($c->node('home'), qr{^fail\ -4\ open\("/dev/net/tun"\)\ failed\ \(13:.*
                              remedy:\ .*chmod}x, 'no right to the TUN');
    like(join(' ', $c->listen('home', 80)), qr{^fail .*open\("/dev/net/tun"\)},
         'no listening socket');
    is($c->say('commit'), 'ok', 'nginx starts all the same');
    ok($c->wait_log(qr{small core: node home mask 230 .*open\("/dev/net/tun"}),
       'the core knows why');
    chmod 0666, '/dev/net/tun';
    ok($c->wait_log(qr{small core: node home mask 1?239 .*text ""}),
       'it heals by itself');
    my $d = Client->new(unprivileged => 1);
    $d->{stack} = 1;
    like($d->open('denied', 'x'), qr/^ok/, 'the next cycle');
    is($d->node('home'), 'ok', 'has its namespace');
    ($fd) = $d->listen('home', 80);
    ok($d->talk_soon($fd, 80), 'and works');
    $d->{stack} = 2;
    like($d->node('lw'), qr/^(?:ok$|fail -4 this build has no userspace)/,
         'lwip where it was built');
    $d->end;
    $c->say('close');
    ok(nothing_left($c->{run}), 'all is gone');

    # no right to a namespace

    mkdir "$dir/root";
    system("mount --rbind / $dir/root") == 0 or die;
    $c->end;
    $c = Client->new(unprivileged => 1, chroot => "$dir/root");
    $c->{stack} = 1;

    like($c->open('denied', 'x'), qr/^ok/, 'in a chroot');
    like($c->node('home'), qr/^fail\ -4\ unshare\(.*\)\ failed\ \(1:.*
                              remedy:\ start\ nginx\ as\ root/x,
         'no user namespaces');
    $c->say('close');
    $c->end;
    ok(nothing_left($c->{run}), 'all is gone');

    $c = Client->new(container => 1, chroot => "$dir/root");
    $c->{stack} = 1;
    $c->open('refused', 'x');
    like($c->node('home'), qr/^fail\ -4\ unshare\(.*\)\ failed\ \(1:.*
                              remedy:\ allow\ unprivileged/x,
         'who is root is not told to be root');
    $c->say('close');
    $c->end;
    ok(nothing_left($c->{run}), 'all is gone');
};


subtest 'the log is rotated' => sub {
    my $c = Client->new;

    like($c->open('rotate', 'x'), qr/^ok/, 'open');
    is($c->node('home'), 'ok', 'a node');
    is($c->say('commit'), 'ok', 'runs');
    ok($c->wait_log(qr/small core: started/), 'logs');

    rename $c->{log}, "$c->{log}.1";
    sleep 1.5;
    ok(!-e $c->{log}, 'the supervisor makes no file');

    POSIX::mkfifo($c->{log}, 0666) or die "$c->{log}: $!";
    sleep 1.5;

    my $core = pid_of('core');
    kill 'KILL', $core;
    ok(wait_until(sub { my ($now) = find('core'); $now && $now != $core }),
       'nor waits for whoever would read a FIFO: a core is started again');
    unlink $c->{log};
    CORE::open(my $fh, '>', $c->{log});
    chmod 0600, $c->{log};

    ok($c->wait_log(qr/small core: setup/), 'the core logs to the new file');
    $c->say('close');
    $c->end;
    ok(nothing_left($c->{run}), 'all is gone');
};


subtest 'inside one process' => sub {
    my $c = Client->new;

    like($c->open('local', 'x', 'local'), qr/^ok $c->{pid} 0$/,
         'no supervisor');
    is($c->node('home'), 'ok', 'a node gets its namespace');
    my ($fd) = $c->listen('home', 80);
    is($c->say('commit'), 'ok', 'commit');
    is($c->say('core'), 'ok', 'the core is a thread');
    ok($c->talk_soon($fd, 80), 'a dialled connection');
    ok(!find('super') && !find('core'), 'no process but the holder');

    my $holder = pid_of('holder', 'home');
    kill 'KILL', $holder;
    ok(wait_until(sub { !find('holder') }), 'the holder is killed');
    is($c->say('tick'), 'ok', 'which is seen soon');
    isnt(pid_of('holder', 'home'), $holder, 'a new one');
    ok($c->wait_log(qr/small core: new holder/), 'the core is told');
    ok($c->talk($fd, 80), 'all goes on');

    my $d = Client->new;
    like($d->open('local', 'y', 'local'), qr/^fail .*in use by another nginx/,
         'a second nginx is refused');
    $d->end;

    is($c->say('close'), 'ok', 'it ends');
    ok(nothing_left($c->{run}), 'all is gone');

    $c->open('local', 'x', 'local');
    is($c->node('home'), 'ok', 'once more');
    is($c->say('commit'), 'ok', 'commit');
    is($c->say('core'), 'ok', 'the core is a thread');
    is($c->say('forget'), 'ok', 'a former cycle');
    like($c->open('local', 'x', 'local'), qr/^ok/, 'is still open');
    is($c->say('end'), 'ok', 'it ends all the same');
    ok(nothing_left($c->{run}), 'all is gone');

    $c->open('local', 'x', 'local');
    is($c->node('home'), 'ok', 'once more');
    $c->{kill} = 1;
    $c->end;
    ok(wait_until(sub { !find('holder') }), 'a killed nginx leaves no holder');
};


done_testing();


END {
    my $status = $?;

    $_->end for @clients;

    if ($dir) {
        # what a failed test left; found by their path, which is this test's
        kill 'KILL', map { find($_) } qw(guard super core holder);

        system("umount -lR $dir/root 2>/dev/null; umount /dev/net/tun;"
               . " umount $dir/tmpfs");
    }

    $? = $status;
}
