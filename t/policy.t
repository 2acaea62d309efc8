#!/usr/bin/perl

# What policy and the node itself say about packets: denied by default, allowed
# where control's rules allow, refused connections are told to their opener,
# ping is answered, and answers to the node's own connections always come in.
# DERP by plain http, as in a lab, on the way.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web, $infra, $control) = @{$tailnet}{qw(peer web infra control)};
my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => $nginx->tailnet_block($control, $tailnet->{auth_key}),
    http => <<'HTTP');
    upstream peer { server peer:80 tailnet; }
    server { listen 80 tailnet=home; return 200 eighty; }
    server { listen 81 tailnet=home; return 200 eightyone; }
    server { listen 8000; location / { proxy_pass http://peer; } }
HTTP
(my $text = $nginx->config) =~ s/\btailnet; /tailnet=home; /;
$lab->write_file($nginx->prefix . '/conf/nginx.conf', $text);

$nginx->start;
my $self = $peer->wait_peer('web', 20);
my ($web4) = grep { !/:/ } @{$self->{TailscaleIPs}};
my ($web6) = grep { /:/ } @{$self->{TailscaleIPs}};

is($peer->wait_get('http://web:80/')->{body}, 'eighty', 'all is allowed');
is($peer->wait_get('http://web:81/')->{body}, 'eightyone', 'on each port');

for (['TSMP', 'tsmp', $web4], ['ICMP', 'icmp', $web4],
     ['ICMPv6', 'icmp', $web6])
{
    my ($name, $how, $address) = @$_;
    my ($status, $output) = $peer->try_cli('ping', "--$how", '--c', 1,
                                           '--timeout', '15s', $address);
    like($output, qr/pong/, "ping by $name is answered");
}

# The node may reach everybody; port 81 of it may be reached, 80 may not.

$control->set_policy({
    hosts => { web => "$web4/32", peer => $peer->ip4 . '/32' },
    acls  => [{ action => 'accept', src => ['peer'], dst => ['web:81'] },
              { action => 'accept', src => ['web'], dst => ['*:*'] }],
});
$control->reload_policy;

ok(eval {
    $lab->wait_for(15, 'the new policy', sub {
        !$peer->get("http://$web4:80/", timeout => 2)->{ok}
    })
}, 'a port that policy does not name is closed');

is($peer->wait_get("http://$web4:81/")->{body}, 'eightyone',
   'the one it names is open');
is($infra->wait_get('http://' . $web->ip4 . ':8000/')->{status}, 200,
   'answers to own connections come in');

my $begin = time();
my $r = $peer->get("http://$web4:80/", timeout => 5);

ok(!$r->{ok}, 'and still is');
note(sprintf 'refused after %.2f s: %s', time() - $begin, $r->{error});

# Nothing is allowed to the node at all.

$control->set_policy({
    hosts => { web => "$web4/32" },
    acls  => [{ action => 'accept', src => ['web'], dst => ['*:*'] }],
});
$control->reload_policy;

ok(eval {
    $lab->wait_for(15, 'the new policy', sub {
        !$peer->get("http://$web4:81/", timeout => 2)->{ok}
    })
}, 'without a rule nothing comes in');
is($infra->wait_get('http://' . $web->ip4 . ':8000/')->{status}, 200,
   'and the node still gets out');

like((Tailnet::Lab::capture($lab->path('modules') . '/ngx_tailnet_core',
                           'status', '--run',
                           $nginx->run_dir))[1],
     qr/^  filter +has refused [1-9]\d* packets$/m, 'status tells of it');

is($nginx->quit, 0, 'nginx quits');


subtest 'DERP by plain http' => sub {
    my $lab = Tailnet::Lab->new;
    my $infra = $lab->host('infra');
    my $derper = $lab->derper(host => $infra, tls => 0);
    my $region = $derper->derp_region;

    $region->{Nodes}[0]{InsecureForTests} = JSON::PP::true();
    no warnings 'redefine';
    local *Tailnet::Lab::Derper::derp_region = sub { $region };

    my $control = $lab->testcontrol(host => $infra, derp => [$derper]);
    my $key = $control->auth_key;
    my ($a, $b) = map { $lab->host($_) } qw(a b);
    my %nginx;

    my $who = join '|', map { "\$tailnet_$_" } qw(peer user_login caps);

    for (['a', $a, 'b'], ['b', $b, 'a']) {
        my ($name, $host, $other) = @$_;
        my $n = $nginx{$name} = $lab->nginx(host => $host, module => 1);

        $n->configure(
            main => $n->tailnet_block($control, $key, hostname => $name),
            http => <<"HTTP");
            upstream other { server $other:80 tailnet=home; }
            server {
                listen 80 tailnet=home;
                location = /who {
                    return 200 "$who";
                }
                location / { return 200 "I am $name"; }
            }
            server { listen 8000; location / { proxy_pass http://other; } }
HTTP
        $host->block_udp;
        $n->start;
    }

    is($infra->wait_get('http://' . $a->ip4 . ':8000/', seconds => 25)->{body},
       'I am b', 'a reaches b, ours at both ends, UDP blocked')
        or diag($nginx{a}->error_log);
    is($infra->wait_get('http://' . $b->ip4 . ':8000/')->{body},
       'I am a', 'b reaches a');

    $control->call(POST => '/app-caps',
                   { 'example.com/cap/x' => [{ role => 'reader' }] });
    my $said = '';

    ok(eval { $lab->wait_for(10, 'the capability', sub {
        $said = $infra->get('http://' . $a->ip4 . ':8000/who')->{body} // '';
        $said =~ /^a\|\S+@\S+\|\{.*"example\.com\/cap\/x":\[\{"role":"reader"\}\]/
    }) }, 'b knows who a is and what it may') or diag($said);

    $_->unblock_udp for $a, $b;
    ok(eval { $nginx{a}->wait_error_log(60, qr/is direct at/) },
       'direct when UDP is open') or diag($nginx{a}->error_log);

    # control asks the node for pings and gets the answers

    my ($from, $to) = map { $control->node($_) } qw(a b);
    my ($ip) = map { s{/.*}{}r } @{$to->{Addresses}};

    $control->call(POST => "/ping?node=$from->{Key}",
                   { URL => 'http://control/machine/pong',
                     Types => 'disco,TSMP,ICMP,peerapi', IP => $ip });

    my %pong;
    $lab->wait_for(20, 'the answers', sub {
        %pong = map { $_->{Type} => $_ } @{$control->call(GET => '/pongs')};
        4 == keys %pong;
    });

    ok(!$pong{disco}{Err} && $pong{disco}{LatencySeconds} > 0,
       'disco: an answer') or diag(explain(\%pong));
    is_deeply([@{$pong{disco}}{qw(IP NodeIP NodeName)}], [$ip, $ip, 'b'],
              'from b');
    like($pong{disco}{Endpoint},
         qr/^(?:\Q@{[$b->ip4]}\E|\[\Q@{[$b->ip6]}\E\]):\d+$/, 'directly');
    ok(!$pong{$_}{Err} && $pong{$_}{LatencySeconds} > 0, "$_: an answer")
        or diag(explain(\%pong)) for qw(TSMP ICMP);
    like($pong{peerapi}{Err}, qr/not supported/, 'peerapi: not supported');

    # and for what else it may

    my $c2n = sub {
        return $control->call(POST => "/c2n?node=$from->{Key}",
                              "$_[0] HTTP/1.1\r\nHost: node\r\n\r\n");
    };
    my $answer = $c2n->('GET /debug/metrics');
    is($answer->{Status}, 200, 'c2n: metrics');
    like($answer->{Body}, qr/^ngx_tailnet_peers 1$/m, 'of this node');
    is_deeply($c2n->('GET /vip-services'),
              { Status => 200, Body => '{"ServicesHash":""}' },
              'c2n: no services');
    $answer = $c2n->('GET /tls-cert-status?domain=a.lab.test');
    ok(JSON::PP::decode_json($answer->{Body})->{Missing},
       'c2n: no certificate');
    is($c2n->('POST /vip-services')->{Status}, 405, 'c2n: another method');
    is($c2n->('GET /debug/pprof/heap')->{Status}, 400, 'c2n: another path');

    # a jailed peer may answer, no more

    my $jail = sub {
        $control->call(POST => "/jail?node=$from->{Key}&peer=$to->{Key}"
                       . "&on=$_[0]");
    };
    my $get = sub {
        my $r = eval { $infra->get('http://' . $_[0]->ip4 . ':8000/',
                                   seconds => 3) };
        return $r && $r->{status} == 200 ? $r->{body} : '';
    };

    $jail->(1);
    eval { $lab->wait_for(15, 'the jail', sub { $get->($b) eq '' }) };
    is($get->($b), '', 'jailed: b does not reach a');
    is($get->($a), 'I am b', 'a reaches b')
        or diag($nginx{a}->error_log);
    $jail->(0);
    eval { $lab->wait_for(15, 'its end', sub { $get->($b) ne '' }) };
    is($get->($b), 'I am a', 'free again: b reaches a');
};

done_testing();
