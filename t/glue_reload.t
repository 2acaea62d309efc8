#!/usr/bin/perl

# Reload and upgrade: tailnet listeners come, go and change while they are
# asked without a pause, and nobody is refused; a configuration that fails
# changes nothing; a new binary takes over; and host listeners on the same
# ports are not touched. Asked from inside of the node's namespace, so there
# is no tailnet behind: control is a closed port of loopback.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(sleep);

use Tailnet::Solo;

plan skip_all => 'needs root' if $> != 0;

my $solo = Tailnet::Solo->new;

plan skip_all => 'the module is not built' unless -e $solo->module;

my ($node, $paths) = ($solo->node, Tailnet::Solo::http_paths());
my ($closed, $port) = (Tailnet::Port::free(), Tailnet::Port::free());


# A configuration: text of the http block, of the main context, of the
# tailnet block.

sub configure {
    my ($http, %opt) = @_;
    my $main = $opt{main} // '';
    my $block = $opt{block} // "tailnet %%NODE%% { "
        . "control_url http://127.0.0.1:$closed; state state; }";

    $solo->configure("$main worker_processes " . ($opt{workers} // 2) . ";\n"
                     . "events { worker_connections 256; }\n$block\n"
                     . "http { $paths keepalive_timeout 0;\n$http\n}\n");
}


sub under_load {
    my ($name, $what, $seconds) = @_;

    $solo->load_start("127.0.0.1:$port", $node, 'page');
    sleep 0.3;
    $what->();
    sleep $seconds // 1;

    my ($good, $bad, $why) = $solo->load_stop;

    cmp_ok($good, '>', 20, "$name: answers");
    is($bad, 0, "$name: no failure") or diag($why);
}


my $address = "127.0.0.1:$port";
my $page = "server { listen $port tailnet; location / { return 200 page; } }";

# A wildcard, as it is what our own listeners look like from inside of nginx.
my $host = "server { listen $port; location / { return 200 host; } }";

configure("$page\n$host");
$solo->start;

is($solo->get($address, $node), 'page', 'IPv4');
is($solo->get("[::1]:$port", $node), 'page', 'IPv6');
is($solo->get($address), 'host', 'the host listener on the same port');

my ($super) = $solo->processes('tailnet-super');
my $holder = $solo->holder($node);

ok($super, 'a supervisor');
ok($holder, 'a namespace');


# the same configuration, again and again

under_load('reload', sub { $solo->reload for 1 .. 4 });
is($solo->get($address), 'host', 'the host listener after reloads');


# listeners that come and go

configure("$page $host server { listen $closed tailnet; return 200 more; }");
under_load('one listener more', sub { $solo->reload });
is($solo->get("127.0.0.1:$closed", $node), 'more', 'the listener is there');

configure("$page\n$host");
under_load('one listener less', sub { $solo->reload });
ok(eval { $solo->wait_for(10, 'the end of the listener', sub {
    $solo->get("127.0.0.1:$closed", $node) =~ /refused|connect/i
}) }, 'the listener is gone');

configure("$page\n$host server { listen $port tailnet; server_name b; "
          . 'return 200 other; }');
under_load('a second server on it', sub { $solo->reload });


# reuseport: sockets per worker

my $reuse = $page =~ s/tailnet/tailnet reuseport/r;

configure("$reuse\n$host", workers => 4);
$solo->reload;
under_load('reuseport, 4 workers', sub { $solo->reload });

configure("$reuse\n$host", workers => 2);
$solo->reload;
sleep 0.5;
under_load('reuseport, from 4 workers to 2', sub { });

configure("$page\n$host");
$solo->reload;
sleep 0.5;
under_load('without reuseport', sub { });


# a configuration that is refused, at parsing and when it binds

configure("$page\n$host colour red;");
under_load('unknown directive', sub { $solo->signal('HUP') });

configure("$page\n$host server { listen 192.0.2.1:$closed; }");
under_load('an address that cannot be bound', sub { $solo->signal('HUP') }, 4);
ok(eval { $solo->wait_for(10, 'the refusal', sub {
    $solo->errors(qr/\[emerg\].*bind\(\) to 192\.0\.2\.1/)
}) }, 'it was refused');
is($solo->get($address), 'host', 'the old configuration goes on');

is(join(' ', $solo->processes('tailnet-super')), $super,
   'the same supervisor all the time');
is($solo->holder($node), $holder, 'the same namespace all the time');


# a killed worker, a killed core

configure("$page\n$host");
$solo->reload;

$solo->load_start($address, $node, 'page');
sleep 0.3;

my $master = $solo->pid;
my ($worker) = grep { Tailnet::Solo::cmdline($_) =~ /worker process$/ }
    Tailnet::Solo::children($master);

kill 'KILL', $worker;
$solo->wait_for(5, 'another worker', sub {
    2 == grep { Tailnet::Solo::cmdline($_) =~ /worker process$/ }
        Tailnet::Solo::children($master);
});

my ($good, $bad, $why) = $solo->load_stop;

# What that worker was answering at this moment is lost: at most what asks.
cmp_ok($bad, '<=', 4, 'killed worker: no more than it had') or diag($why);
is($solo->get($address, $node), 'page', 'killed worker: served');

my ($core) = $solo->processes('tailnet-core');

ok($core, 'a core');
under_load('killed core', sub { kill 'KILL', $core });
$solo->wait_for(5, 'another core', sub {
    my ($new) = $solo->processes('tailnet-core');
    return $new && $new != $core;
});


# a new binary: the old one ends; and then the other way, the new one goes

sub upgrade {
    $solo->signal('USR2');
    $solo->wait_for(10, 'the new master', sub {
        my $pid = $solo->pid;
        my $old = $solo->pid('logs/nginx.pid.oldbin');
        return $pid && $old && $pid != $old && Tailnet::Solo::alive($pid)
            && grep { Tailnet::Solo::cmdline($_) =~ /worker process$/ }
                   Tailnet::Solo::children($pid);
    });
}

under_load('upgrade', sub {
    my $old = $solo->pid;

    upgrade();
    kill 'QUIT', $old;
    $solo->wait_for(10, 'the end of the old master',
                    sub { !Tailnet::Solo::alive($old) });
});

is($solo->get($address), 'host', 'upgrade: the host listener');
is(join(' ', $solo->processes('tailnet-super')), $super,
   'upgrade: the same supervisor');

under_load('reload after the upgrade', sub { $solo->reload });
is($solo->get($address), 'host', 'reload after it: the host listener');

under_load('upgrade called off', sub {
    upgrade();

    my $new = $solo->pid;

    kill 'QUIT', $new;
    $solo->wait_for(10, 'the end of the new master',
                    sub { !Tailnet::Solo::alive($new) });
});

is($solo->get($address, $node), 'page', 'upgrade called off: served');
is($solo->get($address), 'host', 'upgrade called off: the host listener');


# the node leaves the configuration, and comes back

configure($host, block => '');
$solo->reload;
ok($solo->wait_for(10, 'the end of our processes',
                   sub { !$solo->processes }), 'without a block all ends');
ok(!-e $solo->run_dir, 'without a block: no run-time directory');
is($solo->get($address), 'host', 'without a block: the host listener');

configure("$page\n$host");
$solo->reload;
is($solo->get($address, $node), 'page', 'with a block again');


# a fixed UDP port stays with who has it in the configuration, though the node
# that had it is still there when the next one starts

my $udp = Tailnet::Port::free();

sub of_port {
    my ($pid) = @_;

    open my $fh, '<', '/proc/net/udp' or die "/proc/net/udp: $!";

    my $hex = sprintf '%04X', $udp;
    my %inode = map { (split)[9] => 1 } grep { /^\s*\d+: \w+:$hex / } <$fh>;

    return grep { (readlink // '') =~ /^socket:\[(\d+)\]/ && $inode{$1} }
        glob "/proc/$pid/fd/*";
}

for my $name ($node, "renamed-$node") {
    configure($host, block => "tailnet $name { state state/$name; port $udp; "
              . "control_url http://127.0.0.1:$closed; }");
    $solo->reload;
}

($super) = $solo->processes('tailnet-super');
ok(eval { $solo->wait_for(10, 'the end of the former node',
                          sub { !$solo->holder("$node ") }) },
   'a renamed block: the former node is gone');
ok(eval { $solo->wait_for(10, 'the port', sub { of_port($super) }) },
   'a renamed block: the port of before');


# without the module, and with it again: the object stays in memory

$solo->configure("worker_processes 1; events { }\nhttp { $paths $host }\n",
                 without => 1);

SKIP: {
    skip 'the module is linked in', 3 if $ENV{TEST_NGINX_STATIC};

    $solo->reload for 1 .. 3;
    is($solo->get($address), 'host', 'without the module');

    configure("$page\n$host");
    $solo->reload;
    is($solo->get($address, $node), 'page', 'with the module again');

    $solo->reload;
    is($solo->get($address, $node), 'page', 'and once more');
}


# the end

$solo->quit;
ok($solo->wait_for(10, 'the end of our processes',
                   sub { !$solo->processes }), 'quit: no process is left');
ok(!-e $solo->run_dir, 'quit: no run-time directory is left');

my @alerts = $solo->errors(qr/\[(?:alert|emerg|crit)\]/);
@alerts = grep { !/getsockname\(\) of the inherited/
                 && !/(?:exited|ended) on signal 9/
                 && !/unknown directive "colour"/
                 && !/bind\(\) to 192\.0\.2\.1/ } @alerts;
is(join("\n", @alerts), '', 'nothing alarming in the log');

done_testing();
