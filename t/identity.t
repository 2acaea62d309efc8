#!/usr/bin/perl

# nginx knows who is calling: users and tags of a real headscale, clients that
# are real tailscaleds; variables, access rules, capabilities and identity
# headers in http and stream; forged headers and addresses; a netmap that
# changes under a connection; and how control and peers see the node itself.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $infra = $lab->host('infra');
my $web = $lab->host('web');
my $derper = $lab->derper(host => $infra);

my $control = $lab->headscale(
    host => $infra, derp => [$derper], version => 29,
    policy => {
        tagOwners => { map { ("tag:$_" => ['alice@example.com']) }
                       qw(web db ops) },
        grants => [
            { src => ['*'], dst => ['*'], ip => ['*'] },
            { src => ['alice@example.com'], dst => ['tag:web'],
              app => { 'example.com/cap/admin' => [{ role => 'owner' }] } },
        ],
    });

$control->user('alice', email => 'alice@example.com',
               'display-name' => "\xc3\x81lice \"A\"",
               'picture-url' => 'https://example.com/alice.png');
$control->user('bob', email => 'bob@example.com', 'display-name' => 'Bob');

my %peer;

for (['laptop', 'alice'], ['desk', 'bob'], ['db', 'alice', ['tag:db']]) {
    my ($name, $user, $tags) = @$_;

    $peer{$name} = $lab->tailscaled(host => $lab->host($name));
    $peer{$name}->up(control => $control,
        auth_key => $control->auth_key(user => $user, tags => $tags));
}

my $nginx = $lab->nginx(host => $web, module => 1);
my $auth_key = $control->auth_key(user => 'alice', tags => ['tag:web']);
my $echo = join '|', map { "\$http_tailscale_$_" }
    qw(user_login user_name user_profile_pic headers_info app_capabilities
       user_x funnel_request);
my $who = join ' ', map { "$_=[\$tailnet_$_]" }
    qw(name fqdn ip peer peer_fqdn peer_id tags user_login user_name
       user_picture caps path funnel ingress_addr);

my %access = (
    alice   => 'tailnet_allow user:alice@example.com; tailnet_deny all;',
    users   => 'tailnet_allow user:*@example.com; tailnet_deny all;',
    regex   => 'tailnet_allow user:~^bo; tailnet_deny all;',
    db      => 'tailnet_allow tag:db; tailnet_deny all;',
    tags    => 'tailnet_allow tag:d*; tailnet_deny all;',
    node    => 'tailnet_allow node:laptop node:DESK.lab.test; '
               . 'tailnet_deny all;',
    nodes   => 'tailnet_allow node:*; tailnet_deny all;',
    cap     => 'tailnet_allow cap:example.com/cap/admin; tailnet_deny all;',
    caps    => 'tailnet_allow cap:~*CAP/adm; tailnet_deny all;',
    nobob   => 'tailnet_deny user:bob@example.com;',
    all     => 'tailnet_allow all;',
    none    => 'tailnet_deny all;',
    order   => 'tailnet_deny user:alice@example.com; '
               . 'tailnet_allow user:*; tailnet_deny all;',
    funnel  => 'tailnet_allow funnel; tailnet_deny all;',
    any     => 'satisfy any; tailnet_allow tag:db; tailnet_deny all; '
               . 'allow ' . $infra->ip4 . '; deny all;',
    both    => 'tailnet_allow user:*; tailnet_deny all; deny '
               . $peer{desk}->ip4 . '; allow all;',
);

my $locations = join '', map {
    "location = /$_ { $access{$_} try_files /ok =404; }\n"
} sort keys %access;

$nginx->write('html/ok', 'ok');
$nginx->configure(
    main => "worker_processes 2;\n"
            . $nginx->tailnet_block($control, $auth_key),
    http => <<"HTTP",
    upstream laptop        { server laptop:9 tailnet=home; }
    underscores_in_headers on;
    keepalive_requests     100000;
    tailnet_capability \$admin example.com/cap/admin;

    server {
        listen 80 tailnet=home;
        listen 8000;
        tailnet_headers on;

        location = /who   { return 200 '$who admin=[\$admin]'; }
        location = /login { return 200 '\$tailnet_user_login \$tailnet_tags'; }
        location = /wake  { proxy_pass http://laptop; }
        location = /up    { proxy_pass http://127.0.0.1:9000; }
        location = /if    {
            if (\$http_tailscale_user_login) { return 200 \$http_host; }
            return 200 none;
        }
        $locations
    }

    server {
        listen 81 tailnet=home;
        tailnet_allow tag:db;
        tailnet_deny  all;

        location = /       { try_files /ok =404; }
        location = /open   { tailnet_allow all; try_files /ok =404; }
    }

    server {
        listen 82 http2 tailnet=home;
        location = /login { return 200 '\$tailnet_user_login'; }
        location = /alice { $access{alice} try_files /ok =404; }
    }

    server {
        listen 83 tailnet=home;
        listen 8001;
        tailnet_headers on;
        error_page 400 = /up;
        location = /up { proxy_pass http://127.0.0.1:9000; }
    }

    server {
        listen 84 tailnet=home;
        listen 8002;
        tailnet_headers on;
        error_page 400 = \@up;
        location \@up { proxy_pass http://127.0.0.1:9000; }
    }

    server { listen 127.0.0.1:9000; return 200 '$echo'; }
HTTP
    stream => <<"STREAM");
    tailnet_capability \$admin example.com/cap/admin;
    server { listen 5000 tailnet=home; return '$who admin=[\$admin]'; }
    server { listen 5000 udp tailnet=home; return '\$tailnet_peer'; }
    server { listen 5002; return '$who admin=[\$admin]'; }
    server {
        listen 5001 tailnet=home;
        tailnet_allow user:alice\@example.com;
        tailnet_deny  all;
        return ok;
    }
    server { listen 5003 tailnet=home; $access{both} return ok; }
STREAM

$nginx->start;

my $self = eval { $peer{laptop}->wait_peer('web', 20) }
    or BAIL_OUT("the node did not join:\n" . $nginx->error_log);
my ($web4) = grep { !/:/ } @{$self->{TailscaleIPs}};
my ($web6) = grep { /:/ } @{$self->{TailscaleIPs}};

$_->wait_get("http://$web4/ok", seconds => 20) for values %peer;

sub who {
    my ($text) = @_;
    return { $text =~ /(\w+)=\[(.*?)\](?=\s\w+=\[|$)/g };
}


# --- variables

my $id = sub { $control->node($_[0])->{id} };

for my $ip ($web4, "[$web6]") {
    my $family = $ip eq $web4 ? 'IPv4' : 'IPv6';
    my $got = who($peer{laptop}->get("http://$ip/who")->{body});

    like(delete $got->{path}, qr/^(?:direct|derp-\w+)$/, "$family: path");
    is_deeply($got, {
        name => 'web', fqdn => 'web.lab.test', ip => $web4,
        peer => 'laptop', peer_fqdn => 'laptop.lab.test',
        peer_id => $id->('laptop'), tags => '',
        user_login => 'alice@example.com',
        user_name => "\xc3\x81lice \"A\"",
        user_picture => 'https://example.com/alice.png',
        caps => '{"example.com/cap/admin":[{"role":"owner"}]}',
        admin => '[{"role":"owner"}]', funnel => '', ingress_addr => '',
    }, "$family: a user's node") or diag(explain($got));
}

my $got = who($peer{desk}->get("http://$web4/who")->{body});

is("@{$got}{qw(peer user_login user_name caps admin)}",
   'desk bob@example.com Bob {} ', 'another user, without the capability');

$got = who($peer{db}->get("http://$web4/who")->{body});
is("@{$got}{qw(peer tags user_login user_name user_picture)}",
   'db tag:db   ', 'a tagged node has tags and no user');

my $host = 'http://' . $web->ip4 . ':8000';
my $empty = join ' ', map { "$_=[]" } ($who =~ /(\w+)=/g), 'admin';

is($infra->get("$host/who")->{body}, $empty,
   'empty for who comes by the host');

# A host that took an address of the tailnet for its own.

my $alice = $peer{laptop}->ip4;

$infra->run('ip', 'addr', 'add', "$alice/32", 'dev', 'lo');
$web->run('ip', 'route', 'add', "$alice/32", 'via', $infra->ip4);

my $forged = $infra->get("$host/who", args => ['--interface', $alice]);

is($forged->{body}, $empty, 'and with a tailnet address, too');
is($infra->get("$host/alice", args => ['--interface', $alice])->{status}, 403,
   'which opens nothing');
$web->run('ip', 'route', 'del', "$alice/32");
$infra->run('ip', 'addr', 'del', "$alice/32", 'dev', 'lo');


# --- rules

my %want = (        # laptop desk db host
    alice   => '200 403 403 403',
    users   => '200 200 403 403',
    regex   => '403 200 403 403',
    db      => '403 403 200 403',
    tags    => '403 403 200 403',
    node    => '200 200 403 403',
    nodes   => '200 200 200 403',
    cap     => '200 403 403 403',
    caps    => '200 403 403 403',
    nobob   => '200 403 200 200',
    all     => '200 200 200 200',
    none    => '403 403 403 403',
    order   => '403 200 403 403',
    funnel  => '403 403 403 403',
    any     => '403 403 200 200',
    both    => '200 403 403 403',
);

for my $rule (sort keys %want) {
    is(join(' ', (map { $peer{$_}->get("http://$web4/$rule")->{status} }
                  qw(laptop desk db)),
            $infra->get("$host/$rule")->{status}),
       $want{$rule}, "$rule: $access{$rule}");
}

is($peer{desk}->get("http://$web4:81/")->{status}, 403, 'rules of a server');
is($peer{db}->get("http://$web4:81/")->{status}, 200, 'are inherited');
is($peer{desk}->get("http://$web4:81/open")->{status}, 200,
   'by what has none of its own');

my $said = quotemeta 'peer: "desk.lab.test", user: "bob@example.com"';

like($nginx->error_log, qr/access forbidden by tailnet rule, $said/,
     'the error log says who');


my @h2 = (args => ['--http2-prior-knowledge']);

is($peer{desk}->get("http://$web4:82/login", @h2)->{body},
   'bob@example.com', 'the same in HTTP/2');
is(join(' ', map { $peer{$_}->get("http://$web4:82/alice", @h2)->{status} }
        qw(laptop desk)), '200 403', 'rules, too');


# --- headers for an upstream

my $info = 'https://tailscale.com/s/serve-headers';

is($peer{laptop}->get("http://$web4/up")->{body},
   "alice\@example.com|=?utf-8?q?=C3=81lice_\"A\"?=|"
   . "https://example.com/alice.png|$info|||", 'headers of a user, encoded');
is($peer{desk}->get("http://$web4/up")->{body},
   "bob\@example.com|Bob||$info|||", 'plain ones, and no picture');
is($peer{db}->get("http://$web4/up")->{body}, '||||||',
   'a tagged node has none');

# The same requests to a real `tailscale serve`, before the same upstream.

my $serve = $lab->nginx(host => $peer{desk}->host, http => <<"HTTP");
    underscores_in_headers on;
    server { listen 127.0.0.1:9000; return 200 '$echo'; }
HTTP
$serve->start;

my ($failed, $said_serve) = $peer{desk}->try_cli('serve', '--bg',
    '--http=8080', 'http://127.0.0.1:9000/up');

is($failed, 0, 'tailscale serve') or diag($said_serve);

for my $name (qw(laptop db)) {
    my $theirs = $peer{$name}->wait_get('http://desk.lab.test:8080/',
        resolve => 'desk.lab.test:8080:' . $peer{desk}->ip4);

    is($peer{$name}->get("http://$web4/up")->{body}, $theirs->{body},
       "$name: the same headers from both") or diag($theirs->{error});
}

my @forged = map { "$_: forged" } qw(Tailscale-User-Login tailscale-user-name
    Tailscale_User_Profile_Pic Tailscale-User-Login TAILSCALE-HEADERS-INFO
    Tailscale-App-Capabilities Tailscale-User-X Tailscale-Funnel-Request
    X-Other), map { "X-$_: $_" } 1 .. 30;

for my $from (\@forged, [reverse @forged], [@forged[9 .. 25, 0 .. 8, 26 ..
              $#forged]])
{
    is($peer{db}->get("http://$web4/up", headers => $from)->{body}, '||||||',
       'forged ones are removed');
    is($infra->get("$host/up", headers => $from)->{body}, '||||||',
       'also of who comes by the host');
    like($peer{desk}->get("http://$web4/up", headers => $from)->{body},
         qr/^bob\@example\.com\|Bob\|\|\Q$info\E\|\|\|$/,
         'and replaced where there is an identity');
}

is($infra->get("$host/if", headers => \@forged)->{body}, 'none',
   'nothing ever sees them');

# nginx has no list of headers for HTTP/0.9

sub raw {
    my ($from, $ip, $port, $text) = @_;
    my (undef, $got) = $from->capture('bash', '-c',
        "exec 3<>/dev/tcp/$ip/$port; printf '$text' >&3; timeout 5 cat <&3");

    return $got =~ s/^.*\r\n\r\n//sr;
}

my $alices = "alice\@example.com|=?utf-8?q?=C3=81lice_\"A\"?=|"
             . "https://example.com/alice.png|$info|||";

is(raw($peer{laptop}->host, $web4, 80, 'GET /up\r\n'), $alices,
   'HTTP/0.9: the same headers');
is(raw($peer{db}->host, $web4, 80, 'GET /up\r\n'), '||||||',
   'or none');

# what nginx refuses before its phases goes on with its error page

my $hostless = 'GET / HTTP/1.1\r\nTailscale-User-Login: forged\r\n\r\n';

for my $port (83, 84) {
    my $how = $port == 83 ? 'error page' : 'named error page';

    is(raw($infra, $web->ip4, $port + 7918, $hostless), '||||||',
       "$how: forged ones are removed");
    is(raw($peer{laptop}->host, $web4, $port, $hostless), $alices,
       'and replaced');
}

is(raw($peer{laptop}->host, $web4, 83, 'nonsense\r\n\r\n'), $alices,
   'for what is no request, too');


# --- stream

my $client = $lab->write_file($lab->path('client.pl'), <<'PERL');
use strict;
use IO::Select;
use IO::Socket::IP;
my ($host, $port, $proto) = @ARGV;
my $s = IO::Socket::IP->new(PeerHost => $host, PeerPort => $port,
    Proto => $proto, Timeout => 5) or exit;
syswrite $s, "x" if $proto eq 'udp';
print $_ if IO::Select->new($s)->can_read(5) && sysread $s, $_, 65536;
PERL

sub stream {
    my ($from, $host, $port, $proto) = @_;
    return ($from->capture('perl', $client, $host, $port,
                           $proto // 'tcp'))[1];
}

$got = who(stream($peer{laptop}->host, $web4, 5000));
is("@{$got}{qw(name peer user_login tags admin)}",
   'web laptop alice@example.com  [{"role":"owner"}]', 'stream: variables');
is(stream($peer{db}->host, $web4, 5000, 'udp'), 'db', 'stream: UDP');
is(stream($infra, $web->ip4, 5002), $empty, 'stream: empty by the host');
is(stream($peer{laptop}->host, $web4, 5001), 'ok', 'stream: allowed');
is(stream($peer{desk}->host, $web4, 5001), '', 'stream: denied');
is(join(' ', map { stream($peer{$_}->host, $web4, 5003) || 'no' }
        qw(laptop desk db)), 'ok no no', "stream: $access{both}");


# --- how control and peers see the node

my $node = $control->node('web');

is($node->{given_name}, 'web', 'control: name');
ok($node->{online}, 'online');
is_deeply($node->{tags} // $node->{valid_tags} // $node->{forced_tags},
          ['tag:web'], 'tags') or diag(explain($node));
ok(time() - ($node->{last_seen}{seconds} // 0) < 120, 'last seen');

# What it is told comes one after the other, and it knows a direct path while
# there is traffic.

eval { $lab->wait_for(20, 'all of it', sub {
    $peer{laptop}->ping('web', 5);
    $self = $peer{laptop}->peer('web');
    $self->{Online} && $self->{Relay} && $self->{CurAddr} }) };

is($self->{HostName}, 'web', 'a peer: host name');
is($self->{OS}, 'linux', 'OS');
is_deeply($self->{Tags}, ['tag:web'], 'tags');
ok($self->{Online}, 'online');
is($self->{Relay}, $derper->derp_region->{RegionCode}, 'home DERP');
like($self->{CurAddr}, qr/:\d+$/, 'a direct address');

my $whois = JSON::PP->new->decode($peer{laptop}->cli('whois', '--json',
                                                     $web4));

is($whois->{Node}{Name}, 'web.lab.test.', 'whois: name');
is($whois->{Node}{Hostinfo}{OS}, 'linux', 'OS');
is_deeply($whois->{Node}{Tags}, ['tag:web'], 'tags');
ok((grep { $_ =~ /^\Q@{[$web->ip4]}\E:\d+$/ } @{$whois->{Node}{Endpoints}}),
   'endpoints') or diag(explain($whois));
like($peer{laptop}->cli('whois', $web4), qr/Name:\s+web\.lab\.test/,
     'whois in words');


# --- one connection, under which core, supervisor and netmap change

my $asker = $lab->write_file($lab->path('asker.pl'), <<'PERL');
use strict;
use IO::Socket::IP;
my ($host, $file) = @ARGV;
my $s = IO::Socket::IP->new(PeerHost => $host, PeerPort => 80) or die;
open my $f, '>>', $file or die;
$f->autoflush;
while (1) {
    syswrite $s, "GET /login HTTP/1.1\r\nHost: web\r\n\r\n" or last;
    my $n = sysread $s, my $text, 65536;
    last unless $n;
    print $f $text =~ /\r\n\r\n(.*)$/, "\n";
    select undef, undef, undef, 0.05;
}
print $f "closed\n";
PERL

my $file = $lab->path('answers');
my $process = $peer{laptop}->host->start('asker',
                                         ['perl', $asker, $web4, $file]);
my $answers = sub { return split /\n/, $lab->read_file($file) };

$lab->wait_for(10, 'answers', sub { $answers->() > 5 });

# with lwIP a connection ends with the core
for my $name (($ENV{TAILNET_STACK} // '') eq 'lwip'
              ? 'tailnet-super' : qw(tailnet-core tailnet-super))
{
    my ($pid) = $nginx->host->processes($name);
    my $seen = $answers->();

    ok($pid, "there is $name") or next;
    kill 'KILL', $pid;

    # the peer would go on with its session for 15 s: the node opens another
    ok(eval { $lab->wait_for(20, 'answers', sub {
        $infra->get("$host/wake", timeout => 1);
        $answers->() > $seen + 20
    }) }, "it is killed, and the connection goes on") or diag($nginx->error_log);
}

is_deeply([grep { $_ ne 'alice@example.com ' } $answers->()], [],
          'who it is was never in doubt');

$control->cli('nodes', 'tag', '-i', $id->('laptop'), '-t', 'tag:ops');

ok(eval { $lab->wait_for(15, 'the tag', sub {
    ($answers->())[-1] eq ' tag:ops'
}) }, 'a tag is seen at once, without another connection')
    or diag(join "\n", ($answers->())[-3 .. -1]);
is($peer{laptop}->get("http://$web4/alice")->{status}, 403,
   'and what was allowed is not any more');
$process->signal('TERM');
$process->reap(5);

is($nginx->quit, 0, 'nginx quits');

my @alerts = grep { !/ended on signal 9|supervisor was killed/ }
    $nginx->errors(qr/\[(?:alert|emerg)\]/);
is(@alerts, 0, 'no alerts but of what was killed') or diag(@alerts);

done_testing();
