#!/usr/bin/perl

# A download through the tailnet outlives everything around nginx's workers:
# the core killed twice, the namespace's holder killed, a reload. It ends
# complete and byte-exact, and the new core is to be there within a second: by
# what the supervisor says, since a busy machine may take longer to start it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::MD5;
use Test::More;
use Time::HiRes qw(time sleep);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web) = @{$tailnet}{qw(peer web)};
my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key}),
    http => <<'HTTP');
    server {
        listen 80 tailnet=home;
        location /slow/ { alias html/; limit_rate 4m; }
    }
HTTP

my $size = 40;
my $big = $nginx->prefix . '/html/big';

$nginx->write('html/index.html', "page\n");
$lab->run('dd', 'if=/dev/urandom', "of=$big", 'bs=1M', "count=$size",
          'status=none');

$nginx->start;
$peer->wait_peer('web', 20);
is($peer->wait_get('http://web/', seconds => 20)->{status}, 200, 'a page');


# Of the node's namespace.

sub routes {
    my ($to) = @_;
    my ($holder) = $web->processes('tailnet-netns');

    return (Tailnet::Lab::capture('nsenter', "--net=/proc/$holder/ns/net",
        'ip', 'route', 'show', $to))[1];
}


# The queues of its TUN that are in use, none when this kernel has but one.

sub queues {
    my ($holder) = $web->processes('tailnet-netns');
    my $link = (Tailnet::Lab::capture('nsenter', "--net=/proc/$holder/ns/net",
        'ip', '-d', 'link', 'show', 'tailnet0'))[1];

    return $link =~ /multi_queue/
        ? $link =~ /numqueues (\d+) numdisabled 0 / ? $1 : $link : 0;
}


sub wait_new {
    my ($name, $old) = @_;
    my $begin = time();

    while (time() - $begin < 20) {
        my ($pid) = grep { $_ != $old } $web->processes($name);
        return (time() - $begin, $pid) if $pid;
        sleep 0.01;
    }

    return (20, undef);
}


# Congestion control by path: see core/proc/tn_near.c. One short round trip
# shows a near peer, on a machine that is busy the best of many.

SKIP: {
    my ($have, $default) = map {
        $lab->read_file("/proc/sys/net/ipv4/tcp_${_}congestion_control")
    } 'available_', '';

    skip 'this kernel has not both', 2
        unless $have =~ /\bbbr\b/ && $have =~ /\bcubic\b/
            && $default =~ /^(?:bbr|cubic)$/m;

    like(routes('default'), qr/initcwnd 32.*congctl bbr/,
         'far peers get bbr and a longer start');

    my ($peer4, $seen, $latency) = ($peer->ip4, '', 0);

    for (1 .. 120) {
        $seen = routes($peer4);
        last if $seen =~ /congctl cubic/;
        $latency = ($web->capture($lab->path('modules', 'ngx_tailnet_core'),
            'ping', '--run', $nginx->run_dir,
            'peer'))[1];
        sleep 0.25;
    }

    like($seen, qr/congctl cubic/, 'a near one gets cubic') or diag($latency);
    note("$seen\n$latency");
}

# The second takes what has much to send: what it did not give back a download
# would miss.

my $queues = queues();

ok($queues eq '0' || $queues eq '2', 'both queues of the TUN are in use')
    or diag($queues);
diag('this kernel has no second queue for a TUN') if $queues eq '0';

my $got = $lab->path('got');
my $begin = time();
my $curl = fork // die "fork: $!";

if ($curl == 0) {
    exec $peer->host->command('curl', '-sS', '--max-time', 240, '-o', $got,
                              'http://web/slow/big');
    exit 127;
}

sub received { return -s $got // 0 }

# Waits until the download has moved on; how long nothing came.

sub moves {
    my $from = received();
    my $begin = time();

    while (time() - $begin < 60) {
        return time() - $begin if received() > $from + 65536;
        sleep 0.01;
    }

    return 60;
}

moves() for 1 .. 3;

for my $time (1 .. 2) {
    my ($core) = $web->processes('tailnet-core');
    my $before = received();

    kill 'KILL', $core;
    my ($seconds, $new) = wait_new('tailnet-core', $core);
    my $stall = moves();

    my ($pause) = $nginx->error_log
        =~ /core process $core ended .*a new one starts in (\d+) ms/;

    cmp_ok($pause // 1e9, '<', 900, "kill -9 of the core, time $time: a new "
           . 'one is to be there within a second');
    cmp_ok($seconds, '<', 6, 'it is there');
    cmp_ok($stall, '<', 30, 'and the download goes on');
    note(sprintf 'at %.1f MB: new core after %.3f s, next bytes after %.2f s',
         $before / 1e6, $seconds, $stall);
    moves() for 1 .. 10;
}

is(system('kill', '-9', $web->processes('tailnet-netns')), 0,
   'kill -9 of the holder');
cmp_ok(moves(), '<', 20, 'the download goes on');

{
    my ($super) = $web->processes('tailnet-super');

    kill 'KILL', $super;
    my ($seconds, $new) = wait_new('tailnet-super', $super);

    cmp_ok($seconds, '<', 6, 'kill -9 of the supervisor: another one is '
           . 'there soon');
    cmp_ok(moves(), '<', 30, 'and the download goes on');
    $lab->wait_for(10, 'a core and a holder', sub {
        $web->processes('tailnet-core') && $web->processes('tailnet-netns');
    });

    my ($guard) = $web->processes('tailnet-guard');

    kill 'KILL', $guard;
    ($seconds) = wait_new('tailnet-guard', $guard);
    cmp_ok($seconds, '<', 8, 'kill -9 of its guard: another one too');

    # it has to know everything
    sleep 2;
    ($super) = $web->processes('tailnet-super');
    kill 'KILL', $super;
    ($seconds) = wait_new('tailnet-super', $super);
    cmp_ok($seconds, '<', 6, 'and sees to a supervisor');
    cmp_ok(moves(), '<', 30, 'with all that it had');
}

is(queues(), $queues, 'the queues of the TUN are what they were');

$nginx->reload;
cmp_ok(moves(), '<', 20, 'and after a reload');

waitpid $curl, 0;

is($?, 0, 'the download is complete') or diag($nginx->error_log);
note(sprintf '%d MB in %.1f s', $size, time() - $begin);


sub digest {
    open my $file, '<:raw', $_[0] or return "$_[0]: $!";
    return Digest::MD5->new->addfile($file)->hexdigest;
}

is(digest($got), digest($big), 'and byte-exact');

is($peer->wait_get('http://web/', seconds => 10)->{status}, 200,
   'new connections are accepted');

$nginx->quit;

$lab->wait_for(5, 'the end of the processes', sub {
    !grep { $web->processes("tailnet-$_") } qw(core super netns guard);
});
pass('nothing is left behind');

is(scalar($nginx->errors(qr/\[(?:alert|emerg)\].*worker/)), 0,
   'no worker was hurt');

done_testing();
