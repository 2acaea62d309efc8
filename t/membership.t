#!/usr/bin/perl

# In and out of the tailnet: the node key is renewed, by order and because it
# has expired, while a download goes on; logout and login by the tool; an
# ephemeral node that leaves when nginx ends, and only then.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet(headscale => 29);
my ($peer, $control) = @{$tailnet}{qw(peer control)};
my $nginx = $lab->nginx(host => $tailnet->{web}, module => 1);
my $size = 3_000_000;

my $configure = sub {
    my ($key, %opt) = @_;

    $nginx->configure(
        main => $nginx->tailnet_block($control, $key, %opt),
        http => <<'HTTP');
    server {
        listen 80 tailnet=home;
        location /slow/ { limit_rate 300k; alias %%PREFIX%%/html/; }
    }
HTTP
};

$configure->($tailnet->{auth_key});
$nginx->write('html/index.html', "page\n");
$nginx->write('html/big', 'x' x $size);
$nginx->start;

my $program = $lab->path('modules') . '/ngx_tailnet_core';
my $run = $nginx->run_dir;

my $page = sub {
    my $r = eval { $peer->wait_get('http://web/', seconds => $_[0]) };
    return $r ? $r->{body} : $@;
};

my $tool = sub {
    my ($status, $output) = Tailnet::Lab::capture($program, $_[0], '--run',
                                                  $run);
    return "$status: $output";
};

my $key = sub { return ($control->node('web') // {})->{node_key} // '' };

is($page->(20), "page\n", 'a page') or diag($nginx->error_log);

# A renewed key, and one that expires.

my $got = $lab->path('got');
my $curl = fork // die "fork: $!";

if ($curl == 0) {
    exec $peer->host->command('curl', '-sS', '--max-time', 90, '-o', $got,
                              'http://web/slow/big');
    exit 127;
}

my $received = sub { return -s $got // 0 };

my $moves = sub {
    my ($from, $begin) = ($received->(), time);
    $lab->wait_for(40, 'the download to go on',
                   sub { $received->() > $from + 200_000 });
    return sprintf '%.1f s', time - $begin;
};

$lab->wait_for(10, 'the download', sub { $received->() > 100_000 });

my $old = $key->();
is($tool->('renew'), qq(0: tailnet "home": done\n), 'renew');
$lab->wait_for(10, 'another key', sub { $key->() ne $old });
ok(eval { note('after the renewal: ', $moves->()); 1 },
   'the download goes on by another node key') or diag($@);

$old = $key->();
$control->expire_node('web');
$lab->wait_for(20, 'another key', sub { $key->() ne $old });
ok(eval { note('after the expiry: ', $moves->()); 1 },
   'and by a third, since that expired') or diag($@);

waitpid $curl, 0;
is($?, 0, 'the download came to its end');
is(-s $got, $size, 'whole');
is(scalar($nginx->errors(qr/\[(?:alert|emerg|crit)\]/)), 0, 'no alert')
    or diag($nginx->error_log);

# Out, and in again.

my $kept = $nginx->prefix . '/state/home/netmap.zst';
$lab->wait_for(20, 'the netmap to be kept', sub { -s $kept });

is($tool->('logout'), qq(0: tailnet "home": done\n), 'logout');
ok(!-e $kept, 'the netmap is gone from the disk');
unlike($lab->read_file($nginx->prefix . '/state/home/node.json'), qr/\Q$old/,
       'so is the key');
like($tool->('status'), qr/stopped/, 'the status says so');
is($tool->('logout'), qq(1: tailnet "home": the node is not in a tailnet\n),
   'once is enough');
my $away = eval { $peer->get('http://web/', seconds => 2) };
ok(!$away || $away->{status} != 200, 'the peer does not reach it');

is($tool->('login'), qq(0: tailnet "home": done\n), 'login');
$lab->wait_for(20, 'the node to be listed', sub {
    my $n = $control->node('web') // return;
    return $n->{online};
});
is($page->(30), "page\n", 'a page again') or diag($nginx->error_log);

# Ephemeral.

is($nginx->quit, 0, 'nginx quits');
ok($control->node('web'), 'which is no logout');

my $once = $control->auth_key(ephemeral => 1);
$configure->($once, hostname => 'leaf', extra => 'ephemeral on;');
$lab->run('rm', '-r', $nginx->prefix . '/state/home');
$nginx->start;

$lab->wait_for(20, 'the ephemeral node', sub {
    ($control->node('leaf') // {})->{online}
});

my ($core) = $tailnet->{web}->processes('tailnet-core');
my $id = $control->node('leaf')->{id};

kill 'KILL', $core;
$nginx->wait_error_log(20, qr/ended on signal 9.*map received/s);
is(($control->node('leaf') // {})->{id}, $id,
   'a killed core is not the end of it');

$configure->($once, hostname => 'leaf',
             extra => 'ephemeral on; port 42000;');
$nginx->reload;
$nginx->wait_error_log(20, qr/ended on signal 9.*map rec.*map received/s);
is(($control->node('leaf') // {})->{id}, $id, 'nor is another configuration');

is($nginx->quit, 0, 'nginx quits');
$lab->wait_for(10, 'the node to leave', sub { !$control->node('leaf') });
pass('with it the ephemeral node leaves');

# As service managers end it: all processes at once, which is in order, too.

$nginx->start;
$lab->wait_for(20, 'the ephemeral node', sub {
    ($control->node('leaf') // {})->{online}
});

my %core = map { $_ => 1 } $tailnet->{web}->processes('tailnet-core');

kill 'TERM', keys %core, grep { !$core{$_} } $tailnet->{web}->pids;
ok(eval { $lab->wait_for(10, 'the node to leave',
                         sub { !$control->node('leaf') }) },
   'SIGTERM to all processes') or diag($nginx->error_log);
$nginx->stop;

# Others (Debian's unit, a container) ask the master alone, and kill what is
# left as soon as it has ended.

my $late = sub { scalar(() = $nginx->errors(qr/\[warn\].*has not left in/)) };

for my $how (qw(quit stop)) {
    my $before = $late->();

    $nginx->start;
    $lab->wait_for(20, 'the ephemeral node', sub {
        ($control->node('leaf') // {})->{online}
    });
    is($nginx->$how, 0, "$how: nginx ends");
    kill 'KILL', $tailnet->{web}->pids;

    # three seconds are not many on a busy machine

    if ($late->() > $before) {
        note('nobody knows: the time was up');
        next;
    }

    ok(eval { $lab->wait_for(5, 'the node to leave',
                             sub { !$control->node('leaf') }) },
       'what was left is killed: the node is out') or diag($nginx->error_log);
}

# It does not wait for ever.

$nginx->start;
$lab->wait_for(20, 'the ephemeral node', sub {
    ($control->node('leaf') // {})->{online}
});
$lab->wait_for(20, 'its core', sub {
    ($core) = $tailnet->{web}->processes('tailnet-core');
});

my $said = $late->();

kill 'STOP', $core;
is($nginx->stop, 0, 'nginx ends when the core hangs');
is($late->() - $said, 1, 'and says that it did not leave')
    or diag($nginx->error_log);
kill 'KILL', $tailnet->{web}->pids;

done_testing();
