#!/usr/bin/perl

# tailnet_status: the page in a real browser, JSON, metrics that Prometheus'
# own checker takes; only where it is configured and for whom; no secret in
# it; and a core that does not answer keeps no worker from its other work.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet(headscale => 29, control => { policy => {
    tagOwners => { 'tag:db' => ['lab@'] },
    grants    => [{ src => ['*'], dst => ['*'], ip => ['*'] }],
} });
my ($peer, $web, $infra, $control) = @{$tailnet}{qw(peer web infra control)};

my $db = $lab->tailscaled(host => $lab->host('db'), tun => 0);
$db->up(control => $control,
        auth_key => $control->auth_key(tags => ['tag:db']));

my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => "worker_processes 1;\n"
            . $nginx->tailnet_block($control, $tailnet->{auth_key})
            . 'tailnet guest { control_url ' . $control->url . '; '
            . 'state %%STATE%%/guest; tls_trusted_certificate %%CA%%; }',
    http => <<"HTTP");
    server {
        listen 80 tailnet=home;
        location = /tailnet { tailnet_allow user:*; tailnet_deny all;
                              tailnet_status; }
    }
    server {
        listen 8000;
        location = /tailnet { tailnet_status; }
        location /          { return 200 fine; }
    }
HTTP

$nginx->start;

my $host = 'http://' . $web->ip4 . ':8000';
my $url = "$host/tailnet";
my ($page, $json, $metrics, $report);

# By then it knows its relay, its peers and a direct path to one of them.

$peer->wait_peer('web', 20);
my ($web4) = map { grep { !/:/ } @{$_->{TailscaleIPs}} } $peer->peer('web');
$peer->wait_get("http://$web4/tailnet", seconds => 20);
$db->get("http://$web4/");

ok(eval { $lab->wait_for(60, 'a whole report', sub {
    my $r = $infra->get("$url?format=json");
    $report = eval { JSON::PP->new->decode($r->{body}) } or return;
    my $node = $report->{nodes}[0];
    my %peer = map { $_->{name} => $_ } @{$node->{peers} // []};
    ($report->{nodes}[1]{state} // '') eq 'needs login'
        && ($node->{state} // '') eq 'running' && @{$node->{netcheck}{latencies} // []}
        && ($peer{'peer.lab.test.'}{path}{kind} // '') eq 'direct';
}) }, 'the report is complete') or diag(explain($report), $nginx->error_log);


# --- JSON

my $node = $report->{nodes}[0];

is($node->{node}, 'home', 'JSON: the block');
is($node->{name}, 'web.lab.test.', 'its name');
is($node->{home_derp}{code}, $tailnet->{derper}->derp_region->{RegionCode},
   'its home relay');
is_deeply([sort @{$node->{addresses}}], [sort @{$peer->peer('web')
    ->{TailscaleIPs}}], 'its addresses');
ok((grep { $_->{address} =~ /^\Q@{[$web->ip4]}\E:/ }
    @{$node->{netcheck}{endpoints}}), 'its endpoints');

my %peers = map { $_->{name} => $_ } @{$node->{peers}};

ok($peers{'peer.lab.test.'}{received_bytes} > 0, 'traffic of a peer');
is_deeply($peers{'db.lab.test.'}{tags}, ['tag:db'], 'tags');
like($infra->get("$url?format=json")->{headers},
     qr{^Content-Type: application/json\r$}mi, 'its type');


# --- metrics

my $r = $infra->get("$url?format=prometheus");
$metrics = $r->{body};

like($r->{headers}, qr{^Content-Type: text/plain; version=0\.0\.4}mi,
     'metrics: type');
like($metrics, qr/^tailnet_node_up\{node="home"\} 1$/m, 'the node is up');
like($metrics, qr/^tailnet_node_up\{node="guest"\} 0$/m, 'the other is not');
like($metrics, qr/^tailnet_peer_received_bytes_total\{node="home",
     peer="peer\.lab\.test\.",peer_id="\w+"\}\ [1-9]\d*$/mx, 'traffic');
like($metrics, qr/^tailnet_peers\{node="home",state="online"\} 2$/m,
     'peers online');

my %seen;
my @twice = grep { $seen{$_}++ }
    map { /^(\w+(?:\{.*\})?) / ? $1 : () } split /\n/, $metrics;
is_deeply(\@twice, [], 'no sample comes twice');

SKIP: {
    skip 'promtool is not installed', 1
        unless Tailnet::Lab::find_program('promtool');

    $lab->write_file($lab->path('metrics'), $metrics);
    my ($status, $said) = Tailnet::Lab::capture('sh', '-c',
        'promtool check metrics < ' . $lab->path('metrics'));
    is("$status $said", '0 ', "Prometheus' checker has nothing to say");
}


# --- the page

$r = $infra->get($url);
$page = $r->{body};

is($r->{status}, 200, 'page');
like($r->{headers}, qr{^Content-Type: text/html; charset=utf-8\r$}mi, 'type');
like($r->{headers}, qr{^Content-Security-Policy: default-src 'none';}mi,
     'no script may run');
like($r->{headers}, qr{^Cache-Control: no-store\r$}mi, 'not stored');
like($page, qr{<h2>web\.lab\.test</h2><span class="pill ok">running}, 'name');

my $login = quotemeta($control->url) . '/register/[\w-]+';

like($page, qr{Sign in at <a rel="noreferrer" href="($login)">\1</a>},
     'where to sign the other one in');

my $head = $infra->get($url, args => ['-I']);
is($head->{status}, 200, 'HEAD');

SKIP: {
    my $chromium = Tailnet::Lab::find_program('chromium');
    skip 'chromium is not installed', 3 unless $chromium;

    my $shot = $lab->path('status.png');
    my @browser = ('timeout', 60, $chromium, qw(--headless --no-sandbox
        --disable-gpu --hide-scrollbars --disable-dev-shm-usage --no-first-run
        --disable-background-networking),
        '--window-size=1160,900', '--user-data-dir=' . $lab->path('chromium'));

    my (undef, $dom) = $infra->capture(@browser, '--dump-dom', $url);
    like($dom, qr{<title>nginx on the tailnet</title>.*<td>.*peer<br>}s,
         'a browser shows it');
    unlike($dom, qr/Refused to|violates/, 'and refuses nothing');

    $infra->capture(@browser, "--screenshot=$shot", $url);
    cmp_ok(-s $shot // 0, '>', 10_000, 'a picture of it');
    system('cp', $shot, $ENV{STATUS_PNG}) if $ENV{STATUS_PNG};
}


# --- who gets it

is($infra->get($url, args => ['-X', 'POST'])->{status}, 405, 'not by POST');
is($infra->get("$url?format=xml")->{status}, 400, 'no other format');
is($infra->get("$host/elsewhere")->{body}, 'fine', 'not elsewhere');
is($peer->get("http://$web4/tailnet")->{status}, 200, 'rules: a user gets it');
is($db->get("http://$web4/tailnet")->{status}, 403, 'a tagged node does not');

my $auth_key = $tailnet->{auth_key};

for ([HTML => $page], [JSON => $infra->get("$url?format=json")->{body}],
     [metrics => $metrics])
{
    unlike($_->[1], qr/privkey|\Q$auth_key\E|[0-9a-f]{64}(?<!nodekey:.{64})/,
           "$_->[0]: no secret");
}


# --- a core that hangs, one that is new

my ($core) = $nginx->error_log =~ /core process (\d+) started/;
my $begin = time();

kill 'STOP', $core;

my $waiting = fork // die "fork: $!";

if ($waiting == 0) {
    my $status = $infra->get($url, timeout => 20)->{status};
    require POSIX;
    POSIX::_exit($status == 504 ? 0 : 1);
}

is($infra->get("$host/x", timeout => 3)->{body}, 'fine',
   'the worker serves while one waits for a core that hangs');
waitpid $waiting, 0;
is($?, 0, 'who gets 504');
kill 'CONT', $core;
kill 'KILL', $core;
is($infra->wait_get($url)->{status}, 200, 'a new core answers');

is($nginx->quit, 0, 'nginx quits');
is(scalar($nginx->errors(qr/\[(?:alert|emerg)\]/)), 1,
   'no alert but of the core that was killed')
    or diag($nginx->errors(qr/\[(?:alert|emerg)\]/));

done_testing();
