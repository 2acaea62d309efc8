package Tailnet::Lab::Headscale;

# A real headscale, 0.28 or 0.29, with its state in the lab's directory.

use strict;
use warnings;

use Carp qw(croak);
use JSON::PP ();

use Tailnet::Lab::Derper;

my $JSON = JSON::PP->new->canonical->pretty;


# new($lab, host => $host, derp => [$derper, ...], version => 28, tls => 0,
#     domain => 'lab.test', policy => {...}, extra => "yaml\n", v4 => 1)
#   tls: https on 8443 with a certificate of the lab's CA, else http on 8080
#   policy: as headscale's policy file has it; by default all may reach all
#   split: nameservers by suffix, as { 'corp.test' => ['192.0.2.1'] }
#   extra: more top-level lines of the configuration
#   v4 => 0: nodes have an address of IPv6 only

sub new {
    my ($class, $lab, %opt) = @_;
    my $host = $opt{host} // croak 'headscale needs a host';

    my $self = bless {
        lab     => $lab,
        host    => $host,
        version => $opt{version} // 28,
        domain  => $opt{domain} // 'lab.test',
        tls     => $opt{tls},
        v4      => $opt{v4} // 1,
        split   => $opt{split} // {},
        derp    => $opt{derp} // croak('headscale needs a derper'),
        users   => {},
    }, $class;

    $self->{name} = "headscale$self->{version}";
    $self->{port} = $opt{port} // ($self->{tls} ? 8443 : 8080);
    $self->{url} = sprintf('%s://%s:%d', $self->{tls} ? 'https' : 'http',
                           $host->ip4, $self->{port});

    # Two of one version may be there, on different hosts.
    $self->{dir} = $lab->path("$self->{name}-" . $host->name);
    mkdir $self->{dir} or croak "$self->{dir}: $!";

    $self->write_derp_map;
    $self->set_policy($opt{policy} // {
        acls => [{ action => 'accept', src => ['*'], dst => ['*:*'] }],
    });
    $self->write_config($opt{extra} // '');
    $self->start;

    return $self;
}


sub url { return $_[0]{url} }
sub process { return $_[0]{process} }


# headscale reads YAML, of which JSON is a part, but for the numbers as keys;
# the keys are those of tailcfg's structures in lower case.

sub write_derp_map {
    my ($self) = @_;
    my $map = Tailnet::Lab::Derper::derp_map(@{$self->{derp}});
    my $yaml = $JSON->encode($map) =~ s/"(\w+)" :/lc($1) . ' :'/ger;

    $self->{lab}->write_file("$self->{dir}/derp.yaml", $yaml);
}


# Writes the policy; a running headscale reads it again on reload_policy.

sub set_policy {
    my ($self, $policy) = @_;

    $self->{lab}->write_file("$self->{dir}/policy.json",
                             $JSON->encode($policy));
}


sub reload_policy {
    my ($self) = @_;
    $self->{process}->signal('HUP');
}


sub write_config {
    my ($self, $extra) = @_;
    my ($dir, $lab) = @{$self}{qw(dir lab)};
    my $tls = '';

    if ($self->{tls}) {
        my ($cert, $key) = $lab->ca->issue($dir, $self->{host}->ip4,
            $self->{host}->ip6, 'control.test');
        $tls = "tls_cert_path: $cert\ntls_key_path: $key\n";
    }

    my $v4 = $self->{v4} ? "v4: 100.64.0.0/10\n  " : '';
    my $ephemeral = $self->{version} >= 29
        ? "node:\n  ephemeral:\n    inactivity_timeout: 66s\n"
        : "ephemeral_node_inactivity_timeout: 66s\n";

    $lab->write_file("$dir/config.yaml", <<"CONFIG");
server_url: $self->{url}
listen_addr: "[::]:$self->{port}"
metrics_listen_addr: ""
grpc_listen_addr: 127.0.0.1:@{[$self->{port} + 42000]}
grpc_allow_insecure: false
noise:
  private_key_path: $dir/noise.key
prefixes:
  ${v4}v6: fd7a:115c:a1e0::/48
  allocation: sequential
derp:
  server:
    enabled: false
  urls: []
  paths:
    - $dir/derp.yaml
  auto_update_enabled: false
disable_check_updates: true
$ephemeral
database:
  type: sqlite
  sqlite:
    path: $dir/db.sqlite
    write_ahead_log: true
log:
  level: info
  format: text
policy:
  mode: file
  path: $dir/policy.json
dns:
  magic_dns: true
  base_domain: $self->{domain}
  override_local_dns: false
  nameservers:
    global: []
    split: @{[JSON::PP->new->canonical->encode($self->{split})]}
unix_socket: $dir/headscale.sock
unix_socket_permission: "0700"
cli:
  timeout: 30s
logtail:
  enabled: false
$tls$extra
CONFIG
}


# Again after stop(): with what it knew.

sub start {
    my ($self) = @_;

    unlink "$self->{dir}/headscale.sock";

    $self->{process} = $self->{host}->start(
        "$self->{name}-" . $self->{host}->name,
        [$self->{lab}->bin($self->{name}), '-c', "$self->{dir}/config.yaml",
         'serve'],
        env => { HOME => $self->{dir} });

    $self->{process}->wait_until(15, 'the ports', sub {
        -S "$self->{dir}/headscale.sock"
            && $self->{host}->accepts($self->{port})
    });
}


sub stop { return $_[0]{process}->stop }


# Runs headscale's command line, returns what its JSON says.

sub cli {
    my ($self, @args) = @_;

    my ($status, $output) = $self->{host}->capture(
        $self->{lab}->bin($self->{name}), '-c', "$self->{dir}/config.yaml",
        '-o', 'json', @args);

    croak "headscale @args: $output" if $status;

    # Warnings may stand before it.
    my ($json) = $output =~ /^([\[\{"].*|null\s*)\z/ms;

    return JSON::PP->new->allow_nonref->decode($json // 'null');
}


# A user with what identity providers tell: user('alice', 'display-name' =>
# 'Alice', email => ..., 'picture-url' => ...). Returns the id.

sub user {
    my ($self, $name, %opt) = @_;

    return $self->{users}{$name} //= $self->cli('users', 'create', $name,
        map { ("--$_", $opt{$_}) } sort keys %opt)->{id};
}


# auth_key(user => 'lab', reusable => 1, ephemeral => 0, tags => ['tag:web'],
#          expiration => '1h')

sub auth_key {
    my ($self, %opt) = @_;
    my $user = $opt{user} // 'lab';

    my $id = $self->user($user);

    my @args = ('--expiration', $opt{expiration} // '1h');
    push @args, '--reusable' if $opt{reusable} // 1;
    push @args, '--ephemeral' if $opt{ephemeral};
    push @args, '--tags', join(',', @{$opt{tags}}) if $opt{tags};

    return $self->cli('preauthkeys', 'create', '--user', $id, @args)->{key};
}


# All nodes, as headscale lists them.

sub nodes {
    my ($self) = @_;
    return @{$self->cli('nodes', 'list') // []};
}


# One node by its name, or undef.

sub node {
    my ($self, $name) = @_;
    my ($node) = grep { $_->{given_name} eq $name } $self->nodes;

    return $node;
}


# The routes that a node announces: approved or not. Waits until there are as
# many, and returns them, or nothing.

sub wait_routes {
    my ($self, $name, $count, $seconds) = @_;
    my $routes;

    eval {
        $self->{lab}->wait_for($seconds, "$count routes of $name", sub {
            $routes = ($self->node($name) // {})->{available_routes} // [];
            return @$routes == $count;
        });
    };

    return $routes;
}


# These and no others.

sub approve_routes {
    my ($self, $name, @routes) = @_;

    return $self->cli('nodes', 'approve-routes', '-i',
                      $self->node($name)->{id}, '-r', join(',', @routes));
}


sub expire_node {
    my ($self, $name) = @_;
    return $self->cli('nodes', 'expire', '-i', $self->node($name)->{id});
}


sub delete_node {
    my ($self, $name) = @_;
    return $self->cli('nodes', 'delete', '--force', '-i',
                      $self->node($name)->{id});
}


1;
