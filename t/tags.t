#!/usr/bin/perl

# Servers that are all online peers with a tag: every stock balancer over
# them, and peers that come, go and return without a reload of who asks. The
# peers are nodes of one other nginx, which has several, each with its name.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time sleep);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my ($infra, $web, $farm) = map { $lab->host($_) } qw(infra web farm);
my $derper = $lab->derper(host => $infra);
my $control = $lab->headscale(host => $infra, derp => [$derper]);
my $key = $control->auth_key;
my $tagged = $control->auth_key(tags => ['tag:web']);
my %tagged = (c => $control->auth_key(tags => ['tag:web', 'tag:lone']),
              d => $control->auth_key(tags => ['tag:lone']));

# The nodes of the farm; d is without the tag of the others.

my $many = $lab->nginx(host => $farm, module => 1);

sub grow {
    my (@names) = @_;

    $many->configure(
        main => join('', map { $many->tailnet_block($control,
            $tagged{$_} // $tagged, name => $_, hostname => "n$_") } @names),
        http => join('', map {
            my $hold = $_ eq 'd' ? 'proxy_pass http://127.0.0.1:8999;'
                : qq(return 200 "$_\\n";);
            <<"SERVER" } @names) || ' ');
    server {
        listen 81 tailnet=$_;
        keepalive_timeout 1h;
        location / { return 200 "$_\\n"; }
        location /once {
            if (\$connection_requests != 1) { return 444; }
            return 200 "$_\\n";
        }
        location /addr { return 200 "\$server_addr \$remote_addr\\n"; }
        location /hold { $hold }
    }
SERVER
}

grow(qw(a b d));
$many->start;

my $nginx = $lab->nginx(host => $web, module => 1);

my %upstream = (
    plain  => 'server tag:web:81 tailnet;',
    zone   => 'zone zone 64k; server tag:web:81 tailnet;',
    keep   => 'zone keep 64k; server tag:web:81 tailnet; keepalive 8;',
    least  => 'zone least 64k; least_conn; server tag:web:81 tailnet;',
    random => 'random two; server tag:web:81 tailnet;',
    zrandom => 'zone zrandom 64k; random; server tag:web:81 tailnet;',
    hash   => 'hash $arg_k; server tag:web:81 tailnet;',
    zhash  => 'zone zhash 64k; hash $arg_k; server tag:web:81 tailnet;',
    chash  => 'zone chash 64k; hash $arg_k consistent; '
              . 'server tag:web:81 tailnet;',
    iphash => 'ip_hash; server tag:web:81 tailnet;',
    weight => 'zone weight 64k; server tag:web:81 tailnet weight=2; '
              . 'server 127.0.0.1:8001;',
    backup => 'zone backup 64k; server 127.0.0.1:8002; '
              . 'server tag:web:81 tailnet backup;',
    twice  => 'zone twice 128k; hash $arg_k; server tag:web:81 tailnet; '
              . 'server tag:web:81 tailnet;',
    mixed  => 'zone mixed 64k; hash $arg_k; server tag:web:81 tailnet; '
              . 'server 127.0.0.1:8001;',
    down   => 'server tag:web:81 tailnet down; server 127.0.0.1:8001;',
    hdown  => 'hash $arg_k; server tag:web:81 tailnet down; '
              . 'server 127.0.0.1:8001; server 127.0.0.1:8003;',
    none   => 'server tag:none:81 tailnet;',
    lone   => 'zone lone 64k; server tag:lone:81 tailnet;',
    refused => 'zone refused 64k; server tag:lone:89 tailnet;',
    stale  => 'zone stale 64k; server tag:lone:81 tailnet; keepalive 8;',
    spared => 'server tag:lone:89 tailnet; server 127.0.0.1:8001 backup;',
    svc    => 'server svc:na:81 tailnet;',
);
my $upstreams = join "\n", map { "    upstream $_ { $upstream{$_} }" }
    sort keys %upstream;
my $locations = join "\n", map {
    "        location /$_/ { proxy_pass http://$_/; }" } sort keys %upstream;

$nginx->configure(
    main => "worker_processes 2;\n" . $nginx->tailnet_block($control, $key),
    http => <<"HTTP", stream => <<'STREAM');
$upstreams
    proxy_http_version    1.1;
    proxy_set_header      Connection "";
    proxy_connect_timeout 2s;
    add_header            X-Upstream \$upstream_addr always;

    server { listen 127.0.0.1:8001; return 200 "host\\n"; }
    server { listen 127.0.0.1:8003; return 200 "more\\n"; }
    server { listen 8000; keepalive_timeout 0;
$locations
        location /held { proxy_pass http://lone/hold; proxy_read_timeout 25s; }
    }
HTTP
    upstream tag { hash $remote_port; server tag:web:81 tailnet; }
    upstream key { hash $server_port; server tag:web:81 tailnet; }
    upstream refused { zone stream 64k; server tag:lone:89 tailnet; }
    server { listen 8100; proxy_pass tag; }
    server { listen 8101-8108; proxy_pass key; }
    server { listen 8109; proxy_pass refused; }
STREAM
$nginx->start;

my $proxy = 'http://' . $web->ip4;

sub ask { return $infra->get("$proxy:8000/$_[0]") }

sub tally {
    my ($count, $uri) = @_;
    my %seen;

    for my $n (1 .. $count) {
        my $reply = ask($uri =~ s/%/$n/r);
        my $body = $reply->{body} =~ s/\n\z//r;
        $seen{$reply->{status} == 200 ? $body : $reply->{status}}++;
    }

    return join ' ', map { "$_:$seen{$_}" } sort keys %seen;
}

# Until each worker knows these, asking all the time; everything that was not
# an answer of a server counts.

sub until_seen {
    my ($seconds, $want, $uri) = @_;
    my ($end, $bad, $asked, $got) = (time + $seconds, 0, 0, '');
    my $count = split / /, $want;

    until (time > $end) {
        $got = tally(4 * $count, $uri) =~ s/:\d+//gr;
        $asked += 4 * $count;
        $bad++ if $got =~ /\d/;
        last if $got eq $want && ++$count > 3 + split / /, $want;
    }

    is($got, $want, "$uri is $want");
    return ($bad, $asked);
}

# each upstream is told by itself

for my $name (qw(zone keep weight backup plain hash zhash chash mixed)) {
    eval { $lab->wait_for(20, "both nodes in $name", sub {
        tally(12, "$name/?k=%") =~ /^a:\d+ b:\d+\b/
    }) } or diag($@);
}

subtest 'balancers' => sub {
    is(tally(8, 'zone/'), 'a:4 b:4', 'round robin')
        or diag($nginx->error_log);
    like(tally(12, 'plain/'), qr/^a:\d+ b:\d+$/, 'without a zone');
    is(tally(6, 'keep/'), 'a:3 b:3', 'keepalive');
    like(tally(8, 'least/'), qr/^a:\d+ b:\d+$/, 'least_conn');
    like(tally(24, 'random/'), qr/^a:\d+ b:\d+$/, 'random two');
    like(tally(24, 'zrandom/'), qr/^a:\d+ b:\d+$/, 'random in a zone');
    like(tally(16, 'chash/?k=%'), qr/^a:\d+ b:\d+$/, 'consistent hash: turns');
    like(tally(4, 'iphash/'), qr/^[ab]:4$/, 'ip_hash');
    is(tally(10, 'weight/'), 'a:4 b:4 host:2', 'weight');
    is(tally(4, 'backup/'), 'a:2 b:2', 'backup');
    is(tally(4, 'down/'), 'host:4', 'down');

    for my $hash (qw(hash zhash)) {
        my %by = map { $_ => tally(3, "$hash/?k=$_") } 1 .. 16;
        is(scalar(grep { /^[ab]:3$/ } values %by), 16,
           "$hash: a key has its peer");
        is(join(' ', sort keys %{{ reverse %by }}), 'a:3 b:3',
           "$hash: both serve");
    }

    my %by = map { $_ => tally(2, "mixed/?k=$_") } 1 .. 24;
    is(join(' ', sort keys %{{ reverse %by }}), 'a:2 b:2 host:2',
       'hash over peers and a server of the host');

    # keys whose first twenty lots would be slots without a peer, if these
    # had lots before those of another tag

    like(tally(8, "twice/?k=$_"), qr/^[ab]:8$/, "hash over two tags, key $_")
        for 20, 32, 41, 64;

    like(ask('zone/')->{headers}, qr/^X-Upstream: n[ab]:81\r$/m,
         '$upstream_addr is the peer');

    %by = map { $_ => tally(3, "hdown/?k=$_") } 1 .. 16;
    is(join(' ', sort keys %{{ reverse %by }}), 'host:3 more:3',
       'hash beside a tag that is down');

    my %stream;
    $stream{$infra->get("$proxy:8100/")->{body}}++ for 1 .. 24;
    is(join('', sort keys %stream), "a\nb\n", 'stream');

    for my $port (8101 .. 8108) {
        my %seen;
        $seen{$infra->get("$proxy:$port/")->{body}}++ for 1 .. 4;
        is(keys %seen, 1, "stream: a key has its peer, $port");
    }

    is(tally(2, 'svc/'), 'a:2', 'svc: is looked up like a name');
};

subtest 'nobody' => sub {
    my $count = () = $nginx->errors(qr/no online peer has "tag:none"/);

    is(ask('none/')->{status}, 502, 'a tag that nobody has: 502');

    my @lines = $nginx->errors(qr/no online peer has "tag:none"/);
    is(@lines - $count, 1, 'one line says why');
};

# Of a single server that fails nginx goes on asking.

sub is_single {
    my ($name) = @_;
    my $given_up = sub { scalar(() = $nginx->errors(qr/no live upstreams/)) };

    ok(eval { $lab->wait_for(20, $name, sub {
        4 == grep {
            tally(1, 'lone/') eq "$name:1" && tally(1, 'stale/') eq "$name:1"
                && ask('refused/')->{headers} =~ /^X-Upstream: n$name:89\r$/m
        } 1 .. 4
    }) }, "$name is the only peer, and refuses") or diag($@);

    my $count = $given_up->();

    is(tally(4, 'refused/'), '502:4', 'who asks is told');
    $infra->get("$proxy:8109/") for 1 .. 4;
    is(tally(8, 'stale/once'), "$name:8",
       'a connection that was closed is made anew');
    is($given_up->() - $count, 0, 'it is not given up');
    is(tally(4, 'spared/'), 'host:4', 'where there is a backup that answers');
}

subtest 'a single peer' => sub { is_single('d') };

subtest 'several nodes in one nginx' => sub {
    my %addr = map { tally(1, 'plain/addr') => 1 } 1 .. 8;

    is(keys %addr, 2, 'each has its address');
    is(keys %{{ map { (split)[1] => 1 } keys %addr }}, 1, 'who asks is one');
};

subtest 'peers come and go' => sub {
    plan skip_all => 'TAILNET_QUICK' if $ENV{TAILNET_QUICK};
    grow(qw(a b c d));
    $many->reload;
    my ($bad, $asked) = until_seen(25, 'a b c', 'zone/');
    is($bad, 0, 'one more: all were answered');
    is(tally(9, 'zone/'), 'a:3 b:3 c:3', 'in turn');
    ($bad) = until_seen(10, 'a b c', 'plain/');
    is($bad, 0, 'without a zone too');
    until_seen(10, 'a b c', "$_/?k=%") for qw(hash zhash random keep);

    my %before = map { $_ => tally(1, "zhash/?k=$_") } 1 .. 12;

    until_seen(10, 'c d', 'lone/');

    # who waits for one of two, while it goes

    my $holds = $farm->start('holds', ['perl', '-MIO::Socket::INET', '-e',
        '$l = IO::Socket::INET->new(LocalAddr => "127.0.0.1:8999",
                                    Listen => 9, ReuseAddr => 1) or die;
         push @held, $l->accept while 1']);

    $lab->wait_for(10, 'who never answers', sub {
        $farm->get('http://127.0.0.1:8999/', timeout => 1)->{error}
            =~ /timed out/
    });

    my @held = map { $lab->path("held.$_") } 1, 2;
    my @who = map { $infra->start("who-$_", ['curl', '-s', '-m', 60, '-o', $_,
                                             "$proxy:8000/held"]) } @held;

    sleep 1;
    grow(qw(b c));
    $many->reload;
    ($bad, $asked) = until_seen(40, 'b c', 'zone/');
    is($bad, 0, 'one less: all were answered by the others')
        or diag($nginx->error_log);
    is(tally(6, 'zone/'), 'b:3 c:3', 'in turn');
    until_seen(10, 'b c', "$_/?k=%") for qw(hash zhash random keep plain);

    my %after = map { $_ => tally(1, "zhash/?k=$_") } 1 .. 12;
    my @moved = grep { $before{$_} eq 'b:1' && $after{$_} ne 'b:1' } 1 .. 12;
    is("@moved", '', 'hash: the keys of one that stays are not moved');

    is_single('c');

    ok(eval { $lab->wait_for(60, 'answers', sub { 2 == grep { -s } @held }) },
       'who waited for the one is answered');
    is(join('', map { $lab->read_file($_) } @held), "c\nc\n", 'by the other')
        or diag($nginx->error_log);
    $_->stop for @who, $holds;
};

subtest 'the core and a worker killed' => sub {
    my ($one, $two) = $ENV{TAILNET_QUICK} ? qw(a b) : qw(b c);
    my ($core) = $nginx->host->processes('tailnet-core');

    unless ($ENV{TAILNET_QUICK}) {
        kill 'KILL', $core;
        is(tally(6, 'zone/') =~ s/\d+//gr, "$one: $two:", 'core: all served')
            or diag($nginx->error_log);
    }

    my ($worker) = $nginx->workers;
    kill 'KILL', $worker;
    $lab->wait_for(5, 'another worker', sub {
        2 == grep { $_ != $worker } $nginx->workers
    });
    is(tally(6, 'zone/'), "$one:3 $two:3", 'worker: its successor agrees')
        or diag($nginx->error_log);

    $nginx->reload;
    is(tally(8, 'zone/') =~ s/\d+//gr, "$one: $two:", 'reload: all served');
};

subtest 'the end' => sub {
    is($nginx->quit, 0, 'nginx quits');
    is(join("\n", grep { !/(?:ended|exited) on signal 9/ }
            $nginx->errors(qr/\[(?:alert|emerg|crit)\]/)), '',
       'nothing alarming in the log');
    $many->quit;
};

done_testing();
